// Small things that the page's scripts share.

export const byId = (id) => document.getElementById(id);

/** Sets a text if it differs: an unchanged node keeps its selection, and a status is not read twice. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows an instant: the time if it is of today, else with the day. */
export function setTime(element, instant) {
  if (element.dateTime === instant) return;
  element.dateTime = instant;
  const at = new Date(instant);
  const isToday = at.toDateString() === new Date().toDateString();
  setText(element, isToday ? at.toLocaleTimeString() : at.toLocaleString());
  element.title = at.toLocaleString();
}

/** An element with a text and a class. */
export function make(name, text = "", className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  if (className !== "") element.className = className;
  return element;
}
