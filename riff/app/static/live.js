// Plays the pieces of a mix one after the other, without gaps, while the rest of it is generated.
// props.value is the JSON of {id, seconds, pieces}, or empty where nothing is to play any more: seconds is the length of the mix,
// pieces are the URLs of those that are finished, in order. A "stop" event follows the button of that name.
const find = (name) => element.querySelector(name);
const figure = find("figure"), label = find("output"), progress = find("progress"), button = find(".stop");
const LEAST_AHEAD_S = 0.05, RATES = [22_050, 96_000]; // between a piece's scheduling and its sound; that every browser plays
let context = null, run = null; // run.begin, run.frames: the first sample by the context's clock, and how many are scheduled

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

// Some browsers allow sound only from within a press. At the song's own rate nothing is resampled at the joints of pieces.
document.addEventListener("click", ({ target }) => {
  if (!target.closest?.("#play:enabled")) return;
  stop();
  const sampleRate = Number(document.querySelector("#waveform .region").dataset.rate);
  context = new AudioContext(RATES[0] <= sampleRate && sampleRate <= RATES[1] ? { sampleRate } : {});
  context.resume();
}, true);

function show() {
  const value = props.value ? JSON.parse(props.value) : null;
  if (!value) return stop();
  if (run?.id !== value.id) begin(value);
  if (run.ended) return;
  for (const url of value.pieces.slice(run.received)) {
    run.received++;
    const one = run, bytes = fetch(url).then((answer) => answer.arrayBuffer());
    one.loaded = one.loaded.then(async () => append(one, await context.decodeAudioData(await bytes)));
    one.loaded.catch(() => {
      if (!one.ended) label.value = "could not be loaded";
      one.ended = true;
    });
  }
}

function begin({ id, seconds }) {
  document.dispatchEvent(new Event("play")); // silences all others
  run = { id, seconds, received: 0, frames: 0, begin: 0, loaded: Promise.resolve(), ended: false };
  figure.hidden = false;
  requestAnimationFrame(move);
}

// Starts at whole samples; a piece that comes too late delays all that is still to come.
function append(one, buffer) {
  if (one.ended) return;
  const rate = context.sampleRate, earliest = Math.ceil((context.currentTime + LEAST_AHEAD_S) * rate);
  one.begin = Math.max(one.begin, earliest - one.frames);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(context.destination);
  source.start((one.begin + one.frames) / rate);
  one.frames += buffer.length;
}

function move() {
  if (!run || run.ended) return;
  const rate = context.sampleRate, played = Math.max(0, Math.min(context.currentTime * rate - run.begin, run.frames) / rate);
  progress.value = played / run.seconds;
  label.value = `${clock(played)} / ${clock(run.seconds)}`;
  if (run.frames && played > run.seconds - 0.01) stop();
  else requestAnimationFrame(move);
}

function stop() {
  figure.hidden = true;
  if (run) run.ended = true;
  context?.close();
  context = null;
}

button.addEventListener("click", () => {
  stop();
  trigger("stop");
});
document.addEventListener("play", () => run && !run.ended && stop(), true);
watch("value", show);
