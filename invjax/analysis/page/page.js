// The controls, and what follows when one of them is used.

/** Ticks what is shown, and dims what would change other choices as well. */
function showChoices() {
  for (const fieldset of document.querySelectorAll(".choice")) {
    const index = Number(fieldset.dataset.dimension);
    for (const control of fieldset.querySelectorAll("input, option")) {
      const value = Number(control.value);
      control[control.tagName === "OPTION" ? "selected" : "checked"] = value === current().at[index];
      control.parentElement.classList.toggle("elsewhere", control.tagName === "INPUT" && !exists(index, value));
    }
  }
}

function showEverything() {
  showChoices();
  showStage();
  showRestarts();
  showCurves();
  showSheet();
}

/** Shows a row, in the page's link too, and says so to those who do not see it. */
function show(index, update = "replaceState") {
  shown = index;
  showEverything();
  history[update](null, "", linkTo(current()));
  byId("announcement").textContent = `Showing ${current().title}: relative error ${current().error}`;
}

/** Brings the explorer to the reader, who may be far down the page. */
function visit() {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  byId("explorer-title").focus({ preventScroll: true });
  byId("explorer").scrollIntoView({ behavior: still ? "auto" : "smooth" });
}

function choose({ target }) {
  const fieldset = target.closest(".choice");
  if (fieldset) show(nearest({ [fieldset.dataset.dimension]: Number(target.value) }));
}

/** A picture leads to its row, unless it is to be opened elsewhere. */
function follow(event) {
  const link = event.target.closest("a[data-row], .heat a");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const stays = link.closest("#restarts");
  show(link.dataset.row ? Number(link.dataset.row) : rowOf(link.hash), "pushState"); // back leads back
  if (stays) document.querySelector("#restarts [aria-current]")?.focus({ preventScroll: true }); // its tiles are new
  else visit();
}

function start() {
  for (const image of document.querySelectorAll("img[data-of]")) borrow(image, image.dataset.of);
  const stops = data.palette.filter((_, index) => index % 32 === 0 || index === 255);
  document.querySelector("#error-map .bar").style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  byId("explorer").hidden = false;
  byId("gallery").open = false; // it is there for those without scripts
  document.addEventListener("change", choose);
  document.addEventListener("click", follow);
  byId("divider").addEventListener("input", moveDivider);
  byId("own-range").addEventListener("change", () => showMap(current().map));
  addEventListener("hashchange", () => show(rowOf(location.hash)));
  moveDivider();
  shown = rowOf(location.hash);
  showEverything();
}

start();
