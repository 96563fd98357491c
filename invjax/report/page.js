// A picture is in the page once; where it appears again, it is taken from there.
for (const image of document.querySelectorAll("img[data-of]")) {
  image.src = document.querySelector(`#${image.dataset.of} img`).src;
}

// The lightbox: a picture beside its original and its error map; arrow keys go through the restarts.
const box = document.getElementById("lightbox");
let cells = [];
let at = 0;

function enlarged(image) {
  const figure = document.createElement("figure");
  const large = image.cloneNode();
  const caption = document.createElement("figcaption");
  caption.textContent = image.dataset.caption;
  if (image.dataset.full) { // the page holds a thumbnail; the file may have been left behind
    large.onerror = () => { large.onerror = null; large.src = image.src; };
    large.src = image.dataset.full;
  }
  figure.append(large, caption);
  return figure;
}

function show(index) {
  at = (index + cells.length) % cells.length;
  const group = cells[at].closest(".group");
  const images = [...group.querySelectorAll(".original img"), ...cells[at].querySelectorAll("img")];
  box.querySelector("h2").textContent = `${group.dataset.title} – ${cells[at].dataset.title}`;
  box.querySelector(".panes").replaceChildren(...images.map(enlarged));
  box.querySelector("dl").replaceWith(cells[at].querySelector("dl").cloneNode(true));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest(".shot");
  if (!button) return;
  cells = [...button.closest(".group").querySelectorAll(".cell")];
  show(Math.max(cells.indexOf(button.closest(".cell")), 0));
  box.showModal();
});

box.addEventListener("click", (event) => {
  const action = event.target.closest("button")?.dataset.action;
  if (action === "close" || event.target === box) box.close();
  if (action === "previous") show(at - 1);
  if (action === "next") show(at + 1);
});

box.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") show(at - 1);
  else if (event.key === "ArrowRight") show(at + 1);
  else return;
  event.preventDefault();
});
