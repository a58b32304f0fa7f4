// Prompts follow the chosen words; saving downloads the prompt file, one object a line.
const { lines, key, verb, file } = JSON.parse(document.getElementById("lines").textContent);
const form = document.querySelector("form.review");
let changed = false;

for (const song of form.querySelectorAll("fieldset")) {
  const prompt = song.querySelector(".prompt"), line = lines[song.dataset.line];
  const word = (kind) => song.querySelector(`[data-word=${kind}]`).value.trim();
  song.addEventListener("input", (event) => {
    changed = true;
    if (event.target !== prompt) {
      const voice = word("voice"), singer = voice === "none" ? "instrumental" : voice ? `${voice} vocal` : "vocal";
      const described = [word("tempo"), word("mood"), singer, word("style"), "melody"].filter(Boolean).join(" ");
      prompt.value = `${verb} ${"aeiou".includes(described[0]) ? "an" : "a"} ${described}`;
    }
    line[key] = prompt.value.trim();
  });
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const kept = lines.filter((line) => line[key]);
  const text = kept.map((line) => JSON.stringify(line) + "\n").join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = file;
  link.click();
  changed = false;
  form.querySelector("output").value = `${kept.length} prompts saved`;
});
addEventListener("beforeunload", (event) => changed && event.preventDefault());
