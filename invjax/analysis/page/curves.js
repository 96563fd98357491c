// Loss curves: a small chart for each term of the objective, logarithmic, a line for each restart.

const CHART = { width: 300, height: 170, left: 42, right: 6, top: 8, bottom: 32 };
const LINE_COLORS = 8;

const lineColor = (row) => `var(--line-${valueOf(row, "restart") % LINE_COLORS})`;

function makeSvg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const visible = (value) => value !== null && value > 0; // what a logarithm can show

/** Powers of ten below and above all values, at least one apart, so that even a flat line has two labels. */
function decades(values) {
  const low = Math.floor(Math.log10(Math.min(...values)) + 1e-9);
  return [low, Math.max(Math.ceil(Math.log10(Math.max(...values)) - 1e-9), low + 1)];
}

/** 0.01, 100, 10⁻⁶. */
function powerOfTen(exponent) {
  if (Math.abs(exponent) < 4) return String(+(10 ** exponent).toPrecision(1));
  return "10" + String(exponent).replace(/./g, (letter) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(letter)]);
}

/** Round numbers from 0 to the last step, five at most. */
function stepTicks(last) {
  if (!(last > 0)) return [0];
  const rough = 10 ** Math.floor(Math.log10(last / 4));
  const width = Math.max(1, [1, 2, 5, 10].map((factor) => factor * rough).find((size) => last / size <= 4.5));
  return Array.from({ length: Math.floor(last / width) + 1 }, (_, index) => index * width);
}

/** The points of a line as a path, broken where there is nothing to show; "h0" makes a dot of one that is alone. */
function path(steps, values, x, y) {
  const points = values.map((value, index) => (visible(value) ? `${x(steps[index]).toFixed(1)} ${y(value).toFixed(1)}` : null));
  const pen = points.map((point, index) => (point === null ? "" : (points[index - 1] ?? null) === null ? `M${point}h0` : `L${point}`));
  return pen.join("");
}

function axes(low, high, last, x, y) {
  const stride = Math.ceil((high - low) / 5);
  const exponents = Array.from({ length: high - low + 1 }, (_, index) => low + index).filter((n) => (n - low) % stride === 0);
  const [start, end, floor] = [CHART.left, CHART.width - CHART.right, CHART.height - CHART.bottom];
  return [
    ...exponents.flatMap((exponent) => [
      makeSvg("line", { class: "grid", x1: start, x2: end, y1: y(10 ** exponent), y2: y(10 ** exponent) }),
      makeSvg("text", { x: start - 6, y: y(10 ** exponent) + 4, "text-anchor": "end" }, powerOfTen(exponent)),
    ]),
    ...stepTicks(last).map((step) => makeSvg("text", {
      x: x(step), y: floor + 15, "text-anchor": x(step) > end - 12 ? "end" : "middle",
    }, String(step))),
    makeSvg("text", { x: end, y: CHART.height - 3, "text-anchor": "end" }, "step"),
  ];
}

/** The inside of a chart: axes, and a line for each row, that of the row shown last and strong. */
function drawLines(rows, term) {
  const values = rows.flatMap((row) => row.curves[term].filter(visible));
  const [low, high] = decades(values);
  const last = Math.max(...rows.flatMap((row) => row.curves.step));
  const [floor, width] = [CHART.height - CHART.bottom, CHART.width - CHART.left - CHART.right];
  const x = (step) => CHART.left + (last > 0 ? step / last : 0.5) * width;
  const y = (value) => floor - ((Math.log10(value) - low) / (high - low)) * (floor - CHART.top);
  const strongLast = rows.filter((row) => row !== current()).concat(rows.filter((row) => row === current()));
  const lines = strongLast.map((row) => makeSvg("path", {
    d: path(row.curves.step, row.curves[term], x, y),
    class: row === current() ? "strong" : "faint",
    style: `stroke: ${lineColor(row)}`,
  }));
  return [...axes(low, high, last, x, y), ...lines];
}

/** "from 2.96 to 0.0185", of the row shown. */
function inWords(term) {
  const values = (current().curves?.[term] ?? []).filter((value) => value !== null);
  return values.length ? `from ${values[0]} to ${values.at(-1)}` : "no finite values";
}

/** Why there is nothing to draw. */
function nothing(values) {
  const known = values.filter((value) => value !== null);
  return !known.length ? "not finite" : known.some((value) => value) ? "nowhere above zero" : "zero throughout";
}

function chart(rows, term) {
  const drawn = rows.filter((row) => row.curves[term]);
  const all = drawn.flatMap((row) => row.curves[term]);
  const inside = all.some(visible)
    ? drawLines(drawn, term)
    : [makeSvg("text", { x: CHART.width / 2, y: CHART.height / 2, "text-anchor": "middle" }, nothing(all))];
  const label = `${term} by step, logarithmic: ${inWords(term)}`;
  const meaning = data.terms[term] ? ` – ${data.terms[term]}` : "";
  return make("figure", {},
    make("figcaption", {}, make("b", { textContent: term }), meaning),
    makeSvg("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: "img", "aria-label": label }, ...inside));
}

const heading = (textContent, scope) => make("th", { textContent, scope });
const figure = (textContent) => make("td", { textContent, className: "figure" });

/** The curves of the row shown at a few steps: what a chart tells those who do not see it. */
function curveTable(terms) {
  const { curves } = current();
  const last = curves.step.length - 1;
  const kept = [...new Set([0, 0.1, 0.25, 0.5, 0.75, 1].map((part) => Math.round(part * last)))];
  const lines = kept.map((place) => make("tr", {},
    heading(curves.step[place], "row"), ...terms.map((term) => figure(curves[term][place] ?? "–"))));
  const head = make("tr", {}, ...["step", ...terms].map((term) => heading(term, "col")));
  return [make("thead", {}, head), make("tbody", {}, ...lines)];
}

function showCurves() {
  const rows = restarts().filter((row) => row.curves?.step.length);
  const terms = [...new Set(rows.flatMap((row) => Object.keys(row.curves)))].filter((term) => term !== "step");
  byId("curves").hidden = !terms.length;
  byId("curves").querySelector(".multiples").replaceChildren(...terms.map((term) => chart(rows, term)));
  const own = current().curves?.step.length ? terms.filter((term) => current().curves[term]) : [];
  byId("curves").querySelector("details").hidden = !own.length;
  byId("curves").querySelector("table").replaceChildren(...(own.length ? curveTable(own) : []));
}
