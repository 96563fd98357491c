"use strict";

// The page shows one reconstruction, `shown`, an index of data.rows. Every control picks another row, and the link of
// the page follows: "#image=cat&representation=net%20conv1&restart=2".

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const dimensions = data.dimensions;
const indexOf = Object.fromEntries(dimensions.map((dimension, index) => [dimension.name, index]));
const freely = (at) => at.filter((_, index) => dimensions[index].free).join(); // a place, without what follows from it
const places = new Set(data.rows.map((row) => freely(row.at)));
let shown = 0;

const current = () => data.rows[shown];

/** The value of a row in a dimension, given by name. */
const valueOf = (row, name) => dimensions[indexOf[name]].values[row.at[indexOf[name]]];

/** The same in words, with the name of the dimension where the value does not speak for itself. */
const wordsOf = (row, name) => dimensions[indexOf[name]].words[row.at[indexOf[name]]];

/** Whether two rows agree in all dimensions but some. */
function agree(row, other, ...but) {
  return row.at.every((value, index) => value === other.at[index] || but.includes(dimensions[index].name));
}

/** The restarts of the reconstruction shown, itself among them. */
const restarts = () => data.rows.filter((row) => agree(row, current(), "restart"));

/** The row that agrees most with what is wanted, {dimension: value}, and then with what is shown. */
function nearest(wanted) {
  const agreement = (row) => row.at.reduce((sum, value, index) => {
    const weight = 2 ** (dimensions.length - index); // earlier dimensions matter more: the picture before the restart
    if (index in wanted) return sum + (value === wanted[index] ? 2 ** 20 * weight : 0);
    return sum + (value === current().at[index] ? weight : 0);
  }, 0);
  const agreements = data.rows.map(agreement);
  return agreements.indexOf(Math.max(...agreements));
}

/** Whether there is a reconstruction that differs from the one shown in this value only. */
const exists = (index, value) => places.has(freely(current().at.with(index, value)));

/** The link of a row. */
function linkTo(row) {
  const free = dimensions.filter((dimension) => dimension.free);
  return "#" + new URLSearchParams(free.map(({ name }) => [name, valueOf(row, name)]));
}

/** The row that a link leads to; what it does not name stays as it is, what there is not is left out. */
function rowOf(hash) {
  const wanted = {};
  for (const [name, value] of new URLSearchParams(hash.replace(/^#/, ""))) {
    const place = dimensions[indexOf[name]]?.values.indexOf(value) ?? -1;
    if (place >= 0) wanted[indexOf[name]] = place;
  }
  return nearest(wanted);
}
