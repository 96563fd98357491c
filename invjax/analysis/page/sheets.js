// Many reconstructions side by side: the restarts of what is shown, and its picture from every layer.

/** A picture that leads to a row of the data. */
function tile(row, name, ...captions) {
  const link = make("a", { href: linkTo(row), dataset: { row: data.rows.indexOf(row) } },
    thumbnail(row.picture, row.title), make("b", {}, ...[name].flat()));
  if (row === current()) link.setAttribute("aria-current", "true");
  const badge = make("span", { className: `badge ${row.status}`, textContent: row.status });
  return make("li", {}, link, ...captions, ...(row.status === "ok" ? [] : [" ", badge]));
}

/** A picture that leads to its file. */
function fileTile(id, alt, name) {
  const href = byId(id).closest("a").getAttribute("href");
  return make("li", {}, make("a", { href }, thumbnail(id, alt), make("b", { textContent: name })));
}

const originalTile = (row) => (row.original ? [fileTile(row.original, "The original", "original")] : []);

function showRestarts() {
  const rows = restarts();
  const deviation = rows.find((row) => row.deviation)?.deviation;
  byId("restarts").hidden = rows.length < 2 && !deviation;
  const dot = (row) => make("span", { className: "dot", style: { background: lineColor(row) } });
  byId("restarts").querySelector("ul").replaceChildren(
    ...originalTile(current()),
    ...rows.map((row) => tile(row, [dot(row), wordsOf(row, "restart")], `error ${row.error}`)),
    ...(deviation ? [fileTile(deviation, "Standard deviation of each pixel over the restarts", "deviation over restarts")] : []),
  );
}

const shortName = (layer) => (layer.startsWith(data.common) ? layer.slice(data.common.length) : layer);

/** How a layer was inverted, where it was in several ways: by run, by what was swept, by λ_TV. */
function wayOf(row) {
  const ways = dimensions.filter(({ free, name }) => free && !["image", "representation", "restart"].includes(name));
  return ways.map(({ name }) => wordsOf(row, name)).join(", ");
}

function groupedBy(rows, key) {
  const groups = new Map();
  for (const row of rows) groups.set(key(row), [...(groups.get(key(row)) ?? []), row]);
  return groups;
}

/** The best restarts of the picture shown, as [heading, rows], and what names a row among those of its line. */
function sheetLines() {
  const byPlace = (row, other) => row.at.map((value, index) => value - other.at[index]).find((step) => step) ?? 0;
  const rows = data.rows.filter((row) => row.best && valueOf(row, "image") === valueOf(current(), "image")).sort(byPlace);
  const [ways, layers] = [groupedBy(rows, wayOf), groupedBy(rows, (row) => valueOf(row, "representation"))];
  return ways.size > layers.size // few and long lines
    ? { lines: [...layers].map(([layer, line]) => [shortName(layer), line]), nameOf: wayOf }
    : { lines: [...ways], nameOf: (row) => shortName(valueOf(row, "representation")) };
}

function sheetLine(heading, rows, nameOf) {
  const weights = dimensions[indexOf.lambda_tv];
  const own = weights.values.length > 1 && !weights.free; // each layer has its own λ_TV
  const tiles = rows.map((row) => tile(row, set(nameOf(row)),
    `error ${row.error}${own ? `, λ\u00a0${valueOf(row, "lambda_tv")}` : ""}`));
  return make("div", {}, ...(heading ? [make("h3", {}, ...set(heading))] : []),
    make("ul", { className: "tiles small" }, ...originalTile(rows[0]), ...tiles));
}

function showSheet() {
  const { lines, nameOf } = sheetLines();
  const noun = dimensions[indexOf.representation].label;
  byId("sheet").hidden = lines.flatMap(([, rows]) => rows).length < 2;
  byId("sheet-title").textContent = `${valueOf(current(), "image")}, ${noun} by ${noun}`;
  const box = byId("sheet").querySelector(".lines");
  box.style.setProperty("--tiles", 1 + Math.max(...lines.map(([, rows]) => rows.length)));
  box.replaceChildren(...lines.map(([heading, rows]) => sheetLine(heading, rows, nameOf)));
}
