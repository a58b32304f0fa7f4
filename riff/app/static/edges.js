// A canvas with the edges over their spectrogram image, to paint on. Canvas and spectrogram have the same size in pixels, and each
// pixel is an edge or none, so the model gets exactly what is shown.
// props.value is the JSON of {part, width, height, backing, edges, painted}, since Gradio applies the next update to an object in
// place: backing and edges are URLs, part names the part of the song, and painted is a PNG as a data URL if this part's edges were
// painted on, else null.
const find = (name) => element.querySelector(name);
const canvas = find("canvas"), context = canvas.getContext("2d", { willReadFrequently: true }), backing = find("img");
const tools = { draw: find(".draw"), erase: find(".erase") }, size = find("input"), undo = find(".undo"), reset = find(".reset");
const EDGE = "rgb(0, 122, 116)", MOST_UNDONE = 8;
let shown = null, tool = null, history = [];

function current() {
  return props.value ? JSON.parse(props.value) : null;
}

async function show() {
  const value = current();
  if (!value) shown = null; // another song
  if (!value || value.edges === shown) return;
  shown = value.edges;
  const [edges, painted] = await Promise.all([load(value.edges), value.painted ? load(value.painted) : null]);
  if (shown !== value.edges) return; // replaced while loading
  backing.src = value.backing;
  canvas.width = value.width;
  canvas.height = value.height;
  const detected = draw(edges);
  history = painted ? [detected] : [];
  if (painted) draw(painted);
  canvas.dataset.ready = value.edges;
  updateTools();
}

async function load(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

// Draws white edges on black as teal on transparent; returns the canvas's pixels.
function draw(image) {
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < pixels.data.length; i += 4) pixels.data.set([0, 122, 116, pixels.data[i] > 127 ? 255 : 0], i);
  context.putImageData(pixels, 0, 0);
  return pixels;
}

function updateTools() {
  for (const [name, button] of Object.entries(tools)) button.setAttribute("aria-pressed", name === tool);
  undo.disabled = reset.disabled = history.length === 0;
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

function publish(painted) {
  props.value = JSON.stringify({ ...current(), painted });
  trigger("input");
  updateTools();
}

function toDataURL() {
  const output = document.createElement("canvas"), pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  output.width = canvas.width;
  output.height = canvas.height;
  for (let i = 0; i < pixels.data.length; i += 4) {
    const grey = pixels.data[i + 3] > 127 ? 255 : 0;
    pixels.data.set([grey, grey, grey, 255], i);
  }
  output.getContext("2d").putImageData(pixels, 0, 0);
  return output.toDataURL("image/png");
}

canvas.addEventListener("pointerdown", (event) => {
  if (!tool && event.pointerType === "mouse") choose("draw"); // a finger scrolls until a tool is chosen
  if (!shown || !tool || event.button !== 0) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  history.push(context.getImageData(0, 0, canvas.width, canvas.height));
  if (history.length > MOST_UNDONE) history.splice(1, 1); // "Start over" restores the first
  context.fillStyle = EDGE;
  const box = canvas.getBoundingClientRect();
  const position = (pointer) => ({
    x: Math.floor(((pointer.clientX - box.left) / box.width) * canvas.width),
    y: Math.floor(((pointer.clientY - box.top) / box.height) * canvas.height),
  });
  let last = position(event);
  stroke(last, last);
  const move = (pointer) => {
    stroke(last, position(pointer));
    last = position(pointer);
  };
  const drop = () => {
    canvas.removeEventListener("pointermove", move);
    canvas.removeEventListener("pointerup", drop);
    canvas.removeEventListener("pointercancel", drop);
    publish(toDataURL());
  };
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", drop);
  canvas.addEventListener("pointercancel", drop);
});

function restore(pixels) {
  context.putImageData(pixels, 0, 0);
  publish(history.length ? toDataURL() : null);
}

function choose(name) {
  tool = name;
  canvas.style.touchAction = tool ? "none" : "auto";
  updateTools();
}

for (const name of Object.keys(tools)) tools[name].addEventListener("click", () => choose(tool === name ? null : name));
undo.addEventListener("click", () => history.length && restore(history.pop()));
reset.addEventListener("click", () => {
  if (!history.length) return;
  const first = history[0];
  history = [];
  restore(first);
});
window.addEventListener("beforeunload", (event) => current()?.painted && event.preventDefault()); // would be lost
watch("value", show);
updateTools();
show();
