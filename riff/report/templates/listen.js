// Versions of a song in one player: one sounds, and a change of version goes on from the same position.
for (const player of document.querySelectorAll(".player")) {
  const sounds = [...player.querySelectorAll("audio")];
  const choices = [...player.querySelectorAll("input[type=radio]")];
  const transport = player.querySelector(".transport");
  const [button, position, time] = transport.children;
  let current = sounds[choices.findIndex((choice) => choice.checked)];

  const show = () => {
    const seconds = current.currentTime;
    position.value = seconds;
    time.value = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
    position.setAttribute("aria-valuetext", `${seconds.toFixed(1)} seconds`);
    button.textContent = current.paused ? "Play" : "Pause";
  };
  for (const sound of sounds) {
    sound.controls = false;
    for (const event of ["play", "pause", "timeupdate", "seeked", "ended"]) sound.addEventListener(event, show);
  }
  choices.forEach((choice, index) =>
    choice.addEventListener("change", () => {
      const before = current, playing = !before.paused && !before.ended;
      current = sounds[index];
      current.currentTime = before.currentTime;
      before.pause();
      if (playing) current.play();
      show();
    }),
  );
  button.addEventListener("click", () => {
    for (const sound of sounds) sound.preload = "auto"; // so that a change of version does not wait
    for (const other of document.querySelectorAll("audio")) if (other !== current) other.pause();
    if (current.paused) current.play();
    else current.pause();
  });
  position.addEventListener("input", () => (current.currentTime = position.value));
  transport.hidden = false;
}
