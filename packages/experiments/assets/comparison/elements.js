// Small things that the page's scripts share.

export const byId = (id) => document.getElementById(id);

/** An element with a class and children; texts become text, never HTML. */
export function make(name, className = "", ...children) {
  const element = document.createElement(name);
  if (className !== "") element.className = className;
  element.append(...children);
  return element;
}

/** A button with a text. */
export function makeButton(text, onClick, className = "") {
  const button = make("button", className, text);
  button.type = "button";
  button.addEventListener("click", onClick);
  return button;
}

/** Fills a `<select>` with `[value, text]`, and chooses one. */
export function fillSelect(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  select.value = chosen;
}

/** A picture of a run, or in words why there is none: in one word where it is small. */
export function makePicture(run, image, className) {
  if (image === undefined) {
    const words =
      className === "thumb" ? (run.status === "completed" ? "none" : "failed") : wordsInstead(run);
    return make("div", `${className} words`, words);
  }
  const picture = make("img", className);
  picture.decoding = "async";
  picture.loading = "lazy";
  picture.alt = `${run.name}: ${run.title}`;
  if (image.width !== undefined && image.height !== undefined) {
    picture.width = image.width;
    picture.height = image.height;
  }
  picture.addEventListener("error", () => {
    const lost = "Not found. Keep this page beside its images folder.";
    picture.replaceWith(make("div", `${className} words`, make("strong", "", "No picture"), lost));
  });
  picture.src = image.src;
  return picture;
}

function wordsInstead(run) {
  const words = document.createDocumentFragment();
  if (run.status === "completed") {
    words.append(run.elsewhere === undefined ? "No picture" : "Picture kept elsewhere");
    return words;
  }
  words.append(make("strong", "", statusText(run)), run.error ?? "");
  return words;
}

/** A run's status in words. */
export function statusText(run) {
  return { completed: "Completed", failed: "Failed", down: "Failed: a service was down" }[
    run.status
  ];
}

/** What recovery cost, in words; by its number. */
export const LOSS_TEXTS = ["nothing", "other pixels", "another size", "other content"];

/** `12.3 s`, `4 min 5 s` */
export function durationText(ms) {
  const seconds = ms / 1000;
  if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

/** A number with the digits that a person compares by. */
export function numberText(value) {
  return value.toLocaleString("en", { maximumSignificantDigits: 5 });
}

/** An instant in the reader's time and words. */
export function timeText(instant) {
  const at = new Date(instant);
  return Number.isNaN(at.getTime())
    ? instant
    : at.toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
}

/** `1 run`, `2 runs` */
export function countText(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** Tells a reader of the screen something that is seen without words. */
export function say(text) {
  byId("said").textContent = text;
}

/** Puts a text on the clipboard, also where the page is not from a secure place. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = make("textarea");
    field.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    const isCopied = document.execCommand("copy");
    field.remove();
    return isCopied;
  }
}
