// The reconstruction that is shown: beside its original, its error map, its numbers, its files.

/** An element with properties and children. */
function make(tag, properties = {}, ...children) {
  const { dataset, style, ...others } = properties;
  const element = Object.assign(document.createElement(tag), others);
  Object.assign(element.dataset, dataset);
  for (const [name, value] of Object.entries(style ?? {})) element.style.setProperty(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Text as it is set: λ_TV with an index. */
const set = (text) => text.split("λ_TV").flatMap((part, place) =>
  (place ? ["λ", make("sub", { textContent: "TV" }), part] : [part]));

/** Makes an image show a picture of the page, which is in it once. */
function borrow(image, id) {
  const source = byId(id);
  image.src = source.src;
  image.width = source.width;
  image.height = source.height;
  image.style.setProperty("--stretch", source.style.getPropertyValue("--stretch") || "none");
  return image;
}

/** A small picture, or a word in its place. */
function thumbnail(id, alt) {
  return id ? borrow(make("img", { alt }), id) : make("span", { className: "absent", textContent: "missing or damaged" });
}

let alone = false; // whether the page was taken away from its pictures

/** Shows a picture of the page, and then its file in full, as far as it can be had. */
function enlarge(image, id, file) {
  borrow(image, id).dataset.file = file;
  if (!data.thumbnails || !file || alone) return;
  const full = new Image();
  full.onload = () => { if (image.dataset.file === file) image.src = file; };
  full.onerror = () => { alone = true; };
  full.src = file;
}

function moveDivider() {
  const { value } = byId("divider");
  document.querySelector(".viewer").style.setProperty("--at", value);
  byId("divider").setAttribute("aria-valuetext", `${value} % original, ${100 - value} % recovered`);
}

/** Shows or hides one of the two pictures. */
function fill(selector, id, alt, file) {
  const image = document.querySelector(selector);
  image.hidden = !id;
  image.alt = id ? alt : "";
  if (id) enlarge(image, id, file);
}

function showPictures(row) {
  const [viewer, compared] = [document.querySelector(".viewer"), Boolean(row.picture && row.original)];
  viewer.hidden = !row.picture && !row.original;
  viewer.classList.toggle("compared", compared);
  byId("divider").disabled = !compared;
  byId("no-picture").hidden = Boolean(row.picture);
  byId("no-original").hidden = Boolean(row.original);
  byId("no-original").textContent = row.hasOriginal
    ? "The original is missing or damaged." : "There is no original: the feature came without one.";
  fill(".viewer .recovered", row.picture, row.title, row.file);
  const file = row.original && byId(row.original).closest("a").getAttribute("href");
  fill(".viewer .original", row.original, `The original of ${valueOf(row, "image")}`, file);
}

/** Bytes of an error map as colours from 0 to `top`. */
function paint(canvas, { shape: [height, width], bytes, top: own }, top) {
  const levels = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
  const scale = top > 0 ? own / top : 0;
  const picture = new ImageData(width, height);
  levels.forEach((level, index) => {
    const color = parseInt(data.palette[Math.min(255, Math.round(level * scale))].slice(1), 16);
    picture.data.set([color >> 16, (color >> 8) & 255, color & 255, 255], 4 * index);
  });
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function showMap(map) {
  byId("error-map").hidden = !map;
  if (!map) return;
  const own = byId("own-range").checked;
  const canvas = byId("error-map").querySelector("canvas");
  paint(canvas, map, own ? map.top : 1);
  canvas.setAttribute("aria-label", `Feature error by position: mean ${map.mean}, largest ${map.top}${map.top >= 1 ? " or more" : ""}`);
  byId("map-top").textContent = own ? map.top : "1 or more";
}

function showNumbers(row) {
  byId("shown-title").replaceChildren(...set(row.title));
  const status = byId("shown-status");
  status.hidden = row.status === "ok";
  status.replaceChildren(make("span", { className: `badge ${row.status}`, textContent: row.status }),
    ` ${data.status[row.status] ?? ""}`);
  byId("shown-numbers").replaceChildren(...row.numbers.map(([name, value]) =>
    make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value }))));
}

/** The movie in the place of the picture; off at first, for not everybody likes what moves. */
function movieButton(row) {
  const button = make("button", { type: "button", textContent: "Play the descent" });
  button.setAttribute("aria-pressed", "false");
  button.onclick = () => {
    const plays = button.getAttribute("aria-pressed") === "false";
    const image = document.querySelector(".viewer .recovered");
    button.setAttribute("aria-pressed", String(plays));
    button.textContent = plays ? "Stop the descent" : "Play the descent";
    if (plays) Object.assign(image, { src: row.movie }).dataset.file = "";
    else enlarge(image, row.picture, row.file);
  };
  return button;
}

function showLinks(row) {
  const files = [["full picture (PNG)", row.file], ["exact numbers (NPZ)", row.arrays], ["movie (WebP)", row.movie]];
  const links = files.filter(([, href]) => href).map(([textContent, href]) => make("a", { textContent, href }));
  byId("shown-links").replaceChildren(...(row.movie && row.picture ? [movieButton(row)] : []), ...links);
}

function showStage() {
  const row = current();
  showPictures(row);
  showMap(row.map);
  showNumbers(row);
  showLinks(row);
}
