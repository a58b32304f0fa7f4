// The tune of a part as a piano roll over its beats: every note is a button, to drag, to lengthen at its end, and to move by keys.
// props.value is the JSON of {part, melody, grid, notes}, or empty: part names the part of the song, melody the source of its tune,
// grid holds the half beats in seconds, notes are [start, end, pitch] in seconds and MIDI numbers, null after they were closed. An
// "input" event follows every change; "find" asks for the notes of the tune, or for those of another one where they are shown.
const find = (name) => element.querySelector(name);
const figure = find("figure"), lane = find(".lane"), label = find("output"), playhead = mark("playhead");
const buttons = Object.fromEntries(["find", "hear", "add", "delete", "undo", "close"].map((name) => [name, find(`.${name}`)]));
const NAMES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"], USUAL = [55, 69];
const LOWEST = 40, HIGHEST = 84, MARGIN = 4; // pitches
const SHORTEST_S = 0.1, MAGNET_S = 0.05, LEAST_DRAG = 4, GRIP = 10, LEVEL = 0.2; // LEAST_DRAG, GRIP: pixels
const KEYS = { ArrowUp: [0, 1], ArrowDown: [0, -1], PageUp: [0, 12], PageDown: [0, -12], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
let histories = {}, tune = null, shown = "", notes = [], chosen = null, low = HIGHEST, high = LOWEST, context = null, voices = [];

const clamp = (least, value, most) => Math.min(Math.max(value, least), most);
const round = (time) => Math.round(100 * time) / 100;
const nameOf = (pitch) => `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;
const describe = ({ start, end, pitch }) => `${nameOf(pitch)}, ${start.toFixed(1)} s to ${end.toFixed(1)} s`;
const plain = () => notes.map(({ start, end, pitch }) => [start, end, pitch]);
const length = () => tune.part.split("-").reduce((start, end) => end - start) / 1000;
const across = (seconds) => `${(100 * seconds) / length()}%`;
const down = (pitch) => `${(100 * (high - pitch)) / (high - low + 1)}%`;
const history = () => (histories[`${tune.part} ${tune.melody}`] ??= []);

function show() {
  if ((props.value ?? "") === shown) return;
  const before = tune?.notes ? { ...tune, notes: plain() } : {};
  shown = props.value ?? "";
  tune = shown ? JSON.parse(shown) : null;
  if (!tune) histories = {}; // another song
  else if (before.part === tune.part && before.melody === tune.melody && `${before.notes}` !== `${tune.notes}`) history().push(before.notes);
  [low, high] = [HIGHEST, LOWEST];
  set(tune?.notes ?? []);
}

function set(all, index = -1) {
  silence();
  notes = all.map(([start, end, pitch]) => ({ start, end, pitch, button: mark("note", "", {}, "button") }));
  chosen = notes[index] ?? null;
  draw();
}

function mark(kind, text = "", style = {}, tag = "div") {
  const made = Object.assign(document.createElement(tag), { className: kind, textContent: text });
  Object.assign(made.style, style);
  if (tag === "button") made.type = "button";
  else made.ariaHidden = true;
  return made;
}

function draw() {
  const isFocused = lane.contains(document.activeElement);
  figure.hidden = !tune?.notes;
  buttons.find.textContent = figure.hidden ? "Show its notes" : tune.melody === "compose" ? "Compose another" : "Find its notes again";
  if (figure.hidden) return;
  notes.sort((one, other) => one.start - other.start);
  const pitches = notes.length ? notes.map(({ pitch }) => pitch) : USUAL;
  low = Math.max(LOWEST, Math.min(low, Math.min(...pitches) - MARGIN));
  high = Math.min(HIGHEST, Math.max(high, Math.max(...pitches) + MARGIN));
  lane.style.setProperty("--rows", high - low + 1);
  lane.style.setProperty("--seconds", length());
  const rows = Array.from({ length: high - low + 1 }, (_, row) => high - row).map((pitch) =>
    mark(NAMES[pitch % 12][1] ? "row black" : "row", pitch % 12 ? "" : nameOf(pitch), { top: down(pitch) }));
  const lines = tune.grid.map((time, index) => mark(index % 2 ? "line half" : "line", "", { left: across(time) }));
  lane.replaceChildren(...rows, ...lines, ...notes.map(({ button }) => button), playhead);
  notes.forEach(place);
  if (isFocused) chosen?.button.focus({ preventScroll: true });
  choose(chosen);
}

function place(one) {
  const { start, end, pitch, button } = one;
  Object.assign(button.style, { left: across(start), width: across(end - start), top: down(pitch) });
  button.ariaLabel = describe(one);
}

function choose(one) {
  chosen = one;
  for (const { button } of notes) button.ariaPressed = button === chosen?.button;
  label.value = chosen ? describe(chosen) : `${notes.length} notes`;
  [buttons.delete.disabled, buttons.undo.disabled] = [!chosen, !history().length];
}

// After a change: keeps what was before it, and makes it known. What the chosen note covers gives way: one note is sung at a time.
function change(before) {
  if (JSON.stringify(before) === JSON.stringify(plain())) return;
  history().push(before);
  notes = notes.filter((other) => {
    if (!chosen || other === chosen || other.start >= chosen.end || other.end <= chosen.start) return true;
    if (other.start < chosen.start) other.end = chosen.start;
    else other.start = chosen.end;
    return other.end - other.start > SHORTEST_S - 0.01;
  });
  draw();
  publish();
}

function publish() {
  tune.notes &&= plain();
  props.value = shown = JSON.stringify(tune);
  trigger("input");
}

// Moves a note, or its end alone, from where it was.
function move(one, was, later, higher, onlyEnd) {
  const duration = was.end - was.start, most = Math.floor(100 * length()) / 100;
  if (onlyEnd) return void (one.end = round(clamp(was.start + SHORTEST_S, was.end + later, most)));
  one.start = round(clamp(0, was.start + later, most - duration));
  one.end = round(one.start + duration);
  one.pitch = clamp(LOWEST, was.pitch + higher, HIGHEST);
}

function halfBeatAt(time) {
  const index = clamp(1, tune.grid.findIndex((one) => one > time), tune.grid.length - 1);
  return tune.grid[index] - tune.grid[index - 1] || 0.3;
}

// The nearest half beat where one is near, else the time itself.
function magnetic(time) {
  const nearest = tune.grid.reduce((best, one) => (Math.abs(one - time) < Math.abs(best - time) ? one : best), -1);
  return Math.abs(nearest - time) < MAGNET_S ? nearest : time;
}

lane.addEventListener("pointerdown", (event) => {
  const one = notes.find(({ button }) => button === event.target);
  if (!one || event.button !== 0) return;
  event.preventDefault();
  one.button.focus({ preventScroll: true });
  tone(one.pitch);
  const was = { ...one }, before = plain(), box = lane.getBoundingClientRect(), edges = one.button.getBoundingClientRect();
  const onlyEnd = edges.right - event.clientX < Math.min(GRIP, edges.width / 3), at = onlyEnd ? was.end : was.start;
  const follow = ({ clientX, clientY }) => {
    const right = clientX - event.clientX, higher = Math.round(((event.clientY - clientY) / box.height) * (high - low + 1)), { pitch } = one;
    const later = Math.abs(right) < LEAST_DRAG ? 0 : magnetic(at + (right / box.width) * length()) - at;
    move(one, was, later, clamp(low - was.pitch, higher, high - was.pitch), onlyEnd);
    if (one.pitch !== pitch) tone(one.pitch);
    place(one);
    choose(one);
  };
  const drag = new AbortController(), drop = () => (drag.abort(), change(before));
  for (const [name, listener] of [["pointermove", follow], ["pointerup", drop], ["pointercancel", drop]])
    window.addEventListener(name, listener, { signal: drag.signal });
});

function add(start, pitch, halfBeats) {
  const before = plain(), one = { start: 0, end: halfBeats * halfBeatAt(start), pitch, button: mark("note", "", {}, "button") };
  move(one, { ...one }, magnetic(start), 0);
  notes.push((chosen = one));
  change(before);
  one.button.focus();
  tone(pitch);
}

function remove() {
  const before = plain(), index = notes.indexOf(chosen);
  notes.splice(index, 1);
  chosen = notes[index] ?? notes[index - 1] ?? null;
  change(before);
}

function undo() {
  if (!history().length) return;
  set(history().pop(), notes.indexOf(chosen));
  publish();
}

lane.addEventListener("dblclick", ({ target, clientX, clientY }) => {
  if (target.matches(".note")) return;
  const box = lane.getBoundingClientRect(), row = Math.floor(((clientY - box.top) / box.height) * (high - low + 1));
  add(((clientX - box.left) / box.width) * length(), high - row, 2);
});
lane.addEventListener("focusin", ({ target }) => choose(notes.find(({ button }) => button === target) ?? chosen));
lane.addEventListener("keydown", (event) => {
  const step = KEYS[event.key], isUndo = event.key === "z" && (event.ctrlKey || event.metaKey);
  if (!chosen || !(step || isUndo || ["Delete", "Backspace"].includes(event.key))) return;
  event.preventDefault();
  if (isUndo) return undo();
  if (!step) return remove();
  const before = plain();
  move(chosen, { ...chosen }, step[0] * halfBeatAt(chosen.start), step[1], event.shiftKey);
  tone(chosen.pitch);
  change(before);
});

// A plain tone, now or at times of the audio context.
function tone(pitch, start = (context ??= new AudioContext()).currentTime, end = start + 0.15) {
  context.resume();
  const oscillator = new OscillatorNode(context, { type: "triangle", frequency: 440 * 2 ** ((pitch - 69) / 12) });
  const volume = new GainNode(context, { gain: 0 });
  volume.gain.setTargetAtTime(LEVEL, start, 0.01);
  volume.gain.setTargetAtTime(0, Math.max(start, end - 0.04), 0.01);
  oscillator.connect(volume).connect(context.destination);
  oscillator.start(start);
  oscillator.stop(end + 0.05);
  return oscillator;
}

// The notes over the backing. Its player is the clock: where it pauses, by whatever button, they end.
function hear() {
  const backing = document.querySelector(`#backing [data-part="${tune.part}"] audio`);
  if (voices.length) return backing.pause();
  backing.currentTime = 0;
  backing.addEventListener("pause", silence, { once: true });
  backing.addEventListener("playing", () => {
    const zero = context.currentTime - backing.currentTime;
    voices = notes.map(({ start, end, pitch }) => tone(pitch, Math.max(context.currentTime, zero + start), zero + end));
    buttons.hear.textContent = "Stop";
    playhead.hidden = false;
    follow(backing);
  }, { once: true });
  context ??= new AudioContext();
  backing.play();
}

function follow(backing) {
  playhead.style.left = across(backing.currentTime);
  if (voices.length) requestAnimationFrame(() => follow(backing));
}

function silence() {
  for (const voice of voices) voice.stop();
  voices = [];
  playhead.hidden = true;
  buttons.hear.textContent = "Hear it";
}

buttons.find.addEventListener("click", () => trigger("find"));
buttons.hear.addEventListener("click", hear);
buttons.add.addEventListener("click", () => {
  const isFree = (time) => notes.every(({ start, end }) => end < time + 0.01 || start > time + halfBeatAt(time) - 0.01);
  const time = tune.grid.slice(0, -1).find((time) => time > (chosen?.end ?? 0) - 0.01 && isFree(time)) ?? tune.grid.find(isFree);
  if (time !== undefined) add(time, chosen?.pitch ?? 60, 1);
});
buttons.delete.addEventListener("click", remove);
buttons.undo.addEventListener("click", undo);
buttons.close.addEventListener("click", () => {
  history().push(plain());
  tune.notes = null;
  set([]);
  publish();
});
// While a job runs, as the page's other buttons.
new MutationObserver(() => {
  const busy = document.querySelector("#generate:disabled") !== null;
  if (buttons.find.disabled !== busy) buttons.find.disabled = busy;
}).observe(document.body, { subtree: true, attributeFilter: ["disabled"] });
watch("value", show);
draw();
show();
