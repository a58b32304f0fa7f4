// Edges over the picture they were found in, to be painted on. One pixel of the canvas is one of the spectrogram, and it is an
// edge or none: nothing in between, so that the model is given exactly what is seen here.
// props.value is {part, width, height, backing, edges, painted}: backing and edges are addresses, painted is a PNG as a data URL
// once they were painted on, now or when this part was shown before, and null otherwise.
const find = (name) => element.querySelector(name);
const canvas = find("canvas"), context = canvas.getContext("2d", { willReadFrequently: true }), picture = find("img");
const tools = { draw: find(".draw"), erase: find(".erase") }, size = find("input"), undo = find(".undo"), again = find(".again");
const EDGE = "rgb(0, 122, 116)", MOST_UNDONE = 8;
let shown = null, tool = "draw", before = [];

async function show() {
  const value = props.value;
  if (!value) shown = null; // another song
  if (!value || value.edges === shown) return;
  shown = value.edges;
  const [edges, painted] = await Promise.all([load(value.edges), value.painted ? load(value.painted) : null]);
  if (shown !== value.edges) return; // others have come in the meantime
  picture.src = value.backing;
  canvas.width = value.width;
  canvas.height = value.height;
  const found = draw(edges);
  before = painted ? [found] : [];
  if (painted) draw(painted);
  canvas.dataset.ready = value.edges;
  mark();
}

async function load(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

// White on black becomes teal on nothing; returns the canvas's pixels.
function draw(image) {
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data.set([0, 122, 116, pixels.data[at] > 127 ? 255 : 0], at);
  context.putImageData(pixels, 0, 0);
  return pixels;
}

function mark() {
  for (const [name, button] of Object.entries(tools)) button.setAttribute("aria-pressed", name === tool);
  undo.disabled = again.disabled = before.length === 0;
}

function stamp(x, y) {
  const side = Number(size.value), left = Math.floor(x - (side - 1) / 2), top = Math.floor(y - (side - 1) / 2);
  if (tool === "erase") context.clearRect(left, top, side, side);
  else context.fillRect(left, top, side, side);
}

function stroke(from, to) {
  const steps = Math.max(1, Math.ceil(Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y))));
  for (let step = 0; step <= steps; step++)
    stamp(Math.round(from.x + ((to.x - from.x) * step) / steps), Math.round(from.y + ((to.y - from.y) * step) / steps));
}

function tell(painted) {
  props.value = { ...props.value, painted };
  trigger("input");
  mark();
}

function asPicture() {
  const plain = document.createElement("canvas"), whole = context.getImageData(0, 0, canvas.width, canvas.height);
  plain.width = canvas.width;
  plain.height = canvas.height;
  for (let at = 0; at < whole.data.length; at += 4) {
    const grey = whole.data[at + 3] > 127 ? 255 : 0;
    whole.data.set([grey, grey, grey, 255], at);
  }
  plain.getContext("2d").putImageData(whole, 0, 0);
  return plain.toDataURL("image/png");
}

canvas.addEventListener("pointerdown", (event) => {
  if (!shown || event.button !== 0) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  before.push(context.getImageData(0, 0, canvas.width, canvas.height));
  if (before.length > MOST_UNDONE) before.splice(1, 1); // the first is what "Start over" goes back to
  context.fillStyle = EDGE;
  const box = canvas.getBoundingClientRect();
  const at = (one) => ({
    x: Math.floor(((one.clientX - box.left) / box.width) * canvas.width),
    y: Math.floor(((one.clientY - box.top) / box.height) * canvas.height),
  });
  let last = at(event);
  stroke(last, last);
  const move = (one) => {
    stroke(last, at(one));
    last = at(one);
  };
  const drop = () => {
    canvas.removeEventListener("pointermove", move);
    canvas.removeEventListener("pointerup", drop);
    canvas.removeEventListener("pointercancel", drop);
    tell(asPicture());
  };
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", drop);
  canvas.addEventListener("pointercancel", drop);
});

function goBack(pixels) {
  context.putImageData(pixels, 0, 0);
  tell(before.length ? asPicture() : null);
}

for (const name of Object.keys(tools)) tools[name].addEventListener("click", () => ((tool = name), mark()));
undo.addEventListener("click", () => before.length && goBack(before.pop()));
again.addEventListener("click", () => {
  if (!before.length) return;
  const first = before[0];
  before = [];
  goBack(first);
});
window.addEventListener("beforeunload", (event) => props.value?.painted && event.preventDefault()); // it would be lost
watch("value", show);
mark();
show();
