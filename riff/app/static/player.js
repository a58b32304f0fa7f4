// Players of takes: original, backing, mix and vocal in step, one take at a time. The mix is the backing with the vocal added.
// A card's data-take is its number, data-sounds the URLs and data-gains the gains in dB of its sounds, data-seconds its length.
// Web Audio starts all sounds of a take at one sample; a change of version only moves gains. States outlive new HTML of the cards.
const RAMP_S = 0.01, MOST_DECODED = 12, LEAST_DB = -24; // LEAST_DB: of the fader, where the vocal is off
const TYPED = "textarea, select, [contenteditable], input:not([type=radio], [type=range], [type=checkbox])";
const LEVELS = { original: [1, 0, 0], backing: [0, 1, 0], mix: [0, 1, 1], vocal: [0, 0, 1] }; // of original, backing and vocal
const states = new Map(), decoded = new Map(); // by take; by URL
let context = null, playing = null, loading = null, recent = null;

const cardOf = (take) => element.querySelector(`[data-take="${take}"]`);
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const amplitude = (decibels) => (decibels > LEAST_DB ? 10 ** (decibels / 20) : 0);

function stateOf(take) {
  if (!states.has(take)) states.set(take, { version: "mix", vocal: 0, position: 0, loop: false });
  return states.get(take);
}

function decode(url) {
  if (!decoded.has(url)) {
    const buffer = fetch(url).then((answer) => answer.arrayBuffer()).then((bytes) => context.decodeAudioData(bytes));
    buffer.catch(() => decoded.delete(url));
    decoded.set(url, buffer);
    if (decoded.size > MOST_DECODED) decoded.delete(decoded.keys().next().value);
  }
  return decoded.get(url);
}

async function play(take) {
  document.dispatchEvent(new Event("play")); // silences all others
  context ??= new AudioContext();
  loading = recent = take;
  const { sounds, gains } = cardOf(take).dataset;
  try {
    context.resume();
    const urls = JSON.parse(sounds), buffers = await Promise.all(["original", "backing", "vocal"].map((name) => decode(urls[name])));
    if (loading !== take) return; // another take was started meanwhile
    start(take, buffers, JSON.parse(gains));
  } catch {
    cardOf(take).querySelector(".time").value = "could not be loaded";
  } finally {
    if (loading === take) loading = null;
  }
}

function start(take, buffers, gains) {
  const state = stateOf(take), begin = context.currentTime + 0.02, duration = buffers[0].duration;
  if (state.position >= duration - 0.05) state.position = 0;
  const sources = buffers.map((buffer) => new AudioBufferSourceNode(context, { buffer, loop: state.loop }));
  const volumes = sources.map((source) => {
    const volume = new GainNode(context, { gain: 0 });
    source.connect(volume).connect(context.destination);
    source.start(begin, state.position);
    return volume;
  });
  playing = { take, buffers, gains, sources, volumes, duration, start: begin - state.position };
  sources[0].onended = () => playing?.sources === sources && (stop(), (state.position = 0), show(take));
  setLevels();
  show(take);
  requestAnimationFrame(move);
}

function stop() {
  loading = null;
  if (!playing) return;
  const { take, sources } = playing;
  stateOf(take).position = position();
  playing = null;
  for (const source of sources) source.stop();
  show(take);
}

function position() {
  const seconds = Math.max(0, context.currentTime - playing.start);
  return stateOf(playing.take).loop ? seconds % playing.duration : Math.min(seconds, playing.duration);
}

function setLevels() {
  const { take, gains, volumes } = playing, { version, vocal } = stateOf(take);
  const shared = [gains.original, gains.others, gains.others].map(amplitude);
  const faders = [1, 1, version === "mix" ? amplitude(vocal) : 1];
  LEVELS[version].forEach((level, index) =>
    volumes[index].gain.setTargetAtTime(level * shared[index] * faders[index], context.currentTime, RAMP_S),
  );
}

function seek(take, seconds) {
  stateOf(take).position = seconds;
  if (playing?.take === take) {
    const { buffers, gains, sources } = playing;
    playing = null;
    for (const source of sources) source.stop();
    start(take, buffers, gains);
  }
  show(take);
}

function choose(take, version) {
  stateOf(take).version = version;
  recent = take;
  if (playing?.take === take) setLevels();
  show(take);
}

function setLoop(take, loop) {
  const state = stateOf(take), now = playing?.take === take ? position() : state.position;
  state.loop = loop;
  seek(take, now);
}

function show(take) {
  const card = cardOf(take), state = stateOf(take), isPlaying = playing?.take === take;
  if (!card) return;
  const seconds = isPlaying ? position() : state.position, duration = Number(card.dataset.seconds);
  const slider = card.querySelector(".position");
  slider.value = seconds;
  slider.setAttribute("aria-valuetext", `${clock(seconds)} of ${clock(duration)}`);
  card.querySelector(".playhead").style.left = `${(100 * seconds) / duration}%`;
  card.querySelector(".time").value = `${clock(seconds)} / ${clock(duration)}`;
  card.querySelector(".play").textContent = isPlaying ? "Pause" : "Play";
  card.querySelector(".loop").setAttribute("aria-pressed", state.loop);
  card.querySelector(`.versions input[value=${state.version}]`).checked = true;
  card.querySelector(".vocal").value = state.vocal;
  card.querySelector(".level").value = state.vocal > LEAST_DB ? `${state.vocal > 0 ? "+" : ""}${state.vocal} dB` : "off";
}

function move() {
  if (!playing) return;
  if (!cardOf(playing.take)) return stop(); // deleted
  show(playing.take);
  requestAnimationFrame(move);
}

// A new take comes into view, unless another one plays or somebody types.
function renew() {
  const cards = [...element.querySelectorAll("[data-take]")], added = cards.filter((card) => !states.has(card.dataset.take));
  for (const card of cards) show(card.dataset.take);
  const isTyping = document.activeElement.matches(TYPED);
  if (added.length === 1 && !playing && !isTyping) added[0].scrollIntoView({ block: "nearest" });
}

function star(take, button) {
  const starred = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", starred);
  trigger("act", { take, action: "star", value: starred });
}

// The first press asks, and the second one deletes. Dialogs are blocked in the frame that a Space is.
function askToDelete(take, button) {
  if (button.dataset.asked) return trigger("act", { take, action: "delete" });
  button.dataset.asked = true;
  button.textContent = "Really delete?";
}

document.addEventListener("click", ({ target }) => {
  for (const asked of element.querySelectorAll("[data-asked]"))
    if (asked !== target) delete asked.dataset.asked, (asked.textContent = "Delete");
});

const takeOf = (target) => target.closest?.("[data-take]")?.dataset.take;

element.addEventListener("click", ({ target, clientX }) => {
  const take = takeOf(target);
  if (!take) return;
  if (target.matches(".play")) playing?.take === take || loading === take ? stop() : play(take);
  else if (target.matches(".star")) star(take, target);
  else if (target.matches(".vary")) trigger("vary", { take });
  else if (target.matches(".act")) trigger("act", { take, action: target.dataset.action });
  else if (target.matches(".delete")) askToDelete(take, target);
  else if (target.matches(".loop")) setLoop(take, !stateOf(take).loop);
  else if (target.closest(".screen")) {
    const box = target.closest(".screen").getBoundingClientRect();
    seek(take, ((clientX - box.left) / box.width) * Number(cardOf(take).dataset.seconds));
  }
});

element.addEventListener("input", ({ target }) => {
  const take = takeOf(target);
  if (!take) return;
  if (target.matches(".position")) seek(take, Number(target.value));
  else if (target.matches(".versions input")) choose(take, target.value);
  else if (target.matches(".vocal")) {
    stateOf(take).vocal = Number(target.value);
    choose(take, "mix");
  }
});

element.addEventListener("change", ({ target }) => {
  if (target.matches(".name")) trigger("act", { take: takeOf(target), action: "rename", value: target.value });
});

// Keys 1 to 4 choose the version of the take that was touched last, unless somebody is typing.
document.addEventListener("keydown", (event) => {
  const version = Object.keys(LEVELS)[Number(event.key) - 1];
  const isTyping = event.target.matches?.(TYPED);
  const take = takeOf(event.target) ?? recent ?? element.querySelector("[data-take]")?.dataset.take;
  if (!version || !take || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  choose(take, version);
});
document.addEventListener("play", ({ target }) => {
  stop();
  for (const other of document.querySelectorAll("audio, video")) if (other !== target) other.pause();
}, true);

watch("value", renew);
