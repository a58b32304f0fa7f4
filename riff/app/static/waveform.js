// The waveform of a song with the selected part: drag its ends or all of it; elsewhere a drag selects, and a click moves it there.
// props.value is {url, peaks, duration, rate, start, end, shortest, longest, beats}, times in seconds; an "input" event follows every change.
// beats are the times at which a part may begin and end, or null for any.
const find = (name) => element.querySelector(name);
const lane = find(".lane"), canvas = find("canvas"), region = find(".region"), playhead = find(".playhead"), audio = find("audio");
const handles = { start: find(".handle.start"), end: find(".handle.end") };
const buttons = { part: find(".play-part"), song: find(".play-song") };
const LEAST_DRAG = 4, REACH = 30; // pixels: a handle reaches out of the region by the latter
const ROUNDING = 0.005; // seconds: times are whole hundredths
let song = null, playing = null; // playing: the button pressed last, "part" or "song"

const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
const clamp = (low, value, high) => Math.min(Math.max(value, low), high);

function show() {
  const previous = song;
  song = props.value;
  if (!song) return;
  if (!previous || previous.url !== song.url) {
    audio.pause();
    audio.src = song.url;
  }
  drawPeaks();
  placeRegion();
  if (song.beats && !previous?.beats) {
    setRegion(song.start, song.end);
    publish();
  }
}

function drawPeaks() {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, lane.clientWidth * scale);
  canvas.height = Math.max(1, lane.clientHeight * scale);
  const context = canvas.getContext("2d"), middle = canvas.height / 2;
  context.fillStyle = getComputedStyle(lane).color;
  const bars = Math.max(1, Math.min(song.peaks.length, Math.floor(canvas.width / (3 * scale))));
  const width = canvas.width / bars, peaksPerBar = song.peaks.length / bars;
  for (let bar = 0; bar < bars; bar++) {
    const first = Math.floor(bar * peaksPerBar), end = Math.max(first + 1, Math.floor((bar + 1) * peaksPerBar));
    const peak = Math.max(...song.peaks.slice(first, end));
    const height = Math.max(scale, (peak / 100) * canvas.height * 0.9);
    context.fillRect(Math.round(bar * width), middle - height / 2, Math.max(1, Math.round(width - scale)), height);
  }
  context.fillStyle = getComputedStyle(region).borderColor;
  for (const beat of song.beats ?? []) context.fillRect(Math.round((beat / song.duration) * canvas.width), 0, scale, 8 * scale);
}

function placeRegion() {
  region.dataset.start = song.start;
  region.dataset.rate = song.rate;
  region.dataset.part = `${Math.round(1000 * song.start)}-${Math.round(1000 * song.end)}`;
  region.style.left = `${(100 * song.start) / song.duration}%`;
  region.style.width = `${(100 * (song.end - song.start)) / song.duration}%`;
  const room = { start: song.start, end: song.duration - song.end }; // on the handle's outer side
  for (const [name, handle] of Object.entries(handles)) {
    handle.style[name === "start" ? "left" : "right"] = `${-Math.min(REACH, (room[name] / song.duration) * lane.clientWidth)}px`;
    handle.setAttribute("aria-valuenow", song[name].toFixed(1));
    handle.setAttribute("aria-valuemax", song.duration.toFixed(1));
    handle.setAttribute("aria-valuetext", clock(song[name]));
  }
  find(".times").textContent = `${clock(song.start)} to ${clock(song.end)} (${(song.end - song.start).toFixed(1)} s)`;
}

// The beat nearest to a time, of those between two others; the time itself where none is, or where beats do not matter.
function nearestBeat(seconds, low, high) {
  const beats = (song.beats ?? []).filter((beat) => low - ROUNDING < beat && beat < high + ROUNDING);
  return beats.reduce((best, beat) => (Math.abs(beat - seconds) < Math.abs(best - seconds) ? beat : best), beats[0] ?? seconds);
}

function setRegion(start, end) {
  const round = (seconds) => Math.round(seconds * 100) / 100;
  start = nearestBeat(start, end - song.longest, end - shortest());
  end = nearestBeat(end, start + shortest(), start + song.longest);
  song = { ...song, start: round(start), end: Math.min(round(end), song.duration) };
  placeRegion();
}

function publish() {
  props.value = song;
  trigger("input");
}

const shortest = () => Math.min(song.shortest, song.duration);

function moveEnd(name, seconds) {
  if (name === "start") setRegion(clamp(Math.max(0, song.end - song.longest), seconds, song.end - shortest()), song.end);
  else setRegion(song.start, clamp(song.start + shortest(), seconds, Math.min(song.duration, song.start + song.longest)));
}

function moveWhole(start) {
  const length = song.end - song.start;
  const first = clamp(0, start, song.duration - length);
  setRegion(first, first + length);
}

// From one time to another, to either side; a part that would be too short or too long keeps its first end.
function select(from, to) {
  const length = clamp(shortest(), Math.abs(to - from), song.longest);
  const start = clamp(0, to < from ? from - length : from, song.duration - length);
  setRegion(start, start + length);
}

lane.addEventListener("pointerdown", (event) => {
  if (!song) return;
  event.preventDefault();
  const box = lane.getBoundingClientRect();
  const time = (pointer) => ((pointer.clientX - box.left) / box.width) * song.duration;
  const name = Object.keys(handles).find((key) => handles[key].contains(event.target));
  const first = time(event), grip = first - song[name ?? "start"];
  const selects = !name && !region.contains(event.target);
  if (selects) moveWhole(first - (song.end - song.start) / 2);
  if (name) handles[name].focus();
  const move = (pointer) => {
    if (name) moveEnd(name, time(pointer) - grip);
    else if (!selects) moveWhole(time(pointer) - grip);
    else if (Math.abs(pointer.clientX - event.clientX) > LEAST_DRAG) select(first, time(pointer));
  };
  const drop = () => {
    window.removeEventListener("pointermove", move);
    window.removeEventListener("pointerup", drop);
    window.removeEventListener("pointercancel", drop);
    publish();
  };
  window.addEventListener("pointermove", move);
  window.addEventListener("pointerup", drop);
  window.addEventListener("pointercancel", drop);
});

for (const [name, handle] of Object.entries(handles))
  handle.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.1, ArrowRight: 0.1, PageDown: -1, PageUp: 1 }[event.key];
    if (!song || !step) return;
    event.preventDefault();
    const later = (beat) => Math.sign(step) * (beat - song[name]) > ROUNDING;
    const next = song.beats?.filter(later).at(step > 0 ? 0 : -1);
    moveEnd(name, next ?? song[name] + step);
    publish();
  });

function toggle(range) {
  const wasPlaying = playing === range && !audio.paused;
  audio.pause();
  if (wasPlaying || !song) return;
  if (range === "part") audio.currentTime = song.start;
  playing = range;
  audio.play();
}

function updatePlayhead() {
  if (!song) return;
  playhead.style.left = `${(100 * audio.currentTime) / song.duration}%`;
  if (playing === "part" && audio.currentTime >= song.end) audio.pause();
  if (!audio.paused) requestAnimationFrame(updatePlayhead);
}

function updateLabels() {
  buttons.part.textContent = playing === "part" && !audio.paused ? "Stop" : "Play the part";
  buttons.song.textContent = playing === "song" && !audio.paused ? "Stop" : "Play the song";
  playhead.hidden = audio.paused;
}

buttons.part.addEventListener("click", () => toggle("part"));
buttons.song.addEventListener("click", () => toggle("song"));
for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, () => (updateLabels(), updatePlayhead()));
new ResizeObserver(() => song && (drawPeaks(), placeRegion())).observe(lane);
watch("value", show);
updateLabels();
show();
