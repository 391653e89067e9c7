// The tables and figures of the live page. They are changed in place, never made anew: a row that a
// person has focused, or whose text is selected, stays what it was while the page refreshes.

import { byId, setText, setTime } from "./elements.js";

const FIGURES = [
  ["Waiting", (stats) => stats.jobs.queued],
  ["Running", (stats) => stats.jobs.processing],
  ["Recovering", (stats) => stats.jobs.recovering],
  ["Completed", (stats) => stats.jobs.completed],
  ["Failed", (stats) => (stats.jobs.failed ?? 0) + (stats.jobs.timeout ?? 0)],
  ["Cancelled", (stats) => stats.jobs.cancelled],
  ["Held", (stats) => stats.held],
  ["Done last hour", (stats) => stats.completedLastHour],
];

/** Shows the numbers of the queue. */
export function showStats(stats) {
  const list = byId("stats");
  for (const [index, [name, figure]] of FIGURES.entries()) {
    let group = list.children[index];
    if (group === undefined) {
      group = document.createElement("div");
      group.append(document.createElement("dt"), document.createElement("dd"));
      setText(group.firstElementChild, name);
      list.append(group);
    }
    setText(group.lastElementChild, Number(figure(stats) ?? 0).toLocaleString());
  }
}

/** Shows the instances of all machines. */
export function showInstances(machines) {
  const rows = machines.flatMap((machine) =>
    machine.instances.map((instance) => ({ id: instance.id, machine, instance })),
  );
  fill(byId("instances"), rows, newInstanceRow, fillInstanceRow);
  byId("no-instances").hidden = rows.length > 0;
  byId("simulated").hidden = !rows.some(({ instance }) => instance.simulated === true);
}

function newInstanceRow(row) {
  addCells(row, ["", "state", "wide", "wide"]);
  addNote(row.cells[0]);
  row.cells[3].append(document.createElement("time"));
}

function fillInstanceRow(row, { machine, instance }) {
  const isLost = machine.state === "lost";
  const state = isLost ? "machine lost" : instance.state;
  setText(row.cells[0].firstElementChild, instance.name);
  const notes = [
    instance.simulated === true ? "simulated" : null,
    isLost ? null : instance.reason,
    instance.quarantine?.reason ?? null,
  ];
  setText(row.cells[0].lastElementChild, notes.filter(Boolean).join(" · "));
  const isAside = instance.quarantine !== null;
  setText(
    row.cells[1],
    `${state}${instance.cordoned ? ", cordoned" : ""}${isAside ? ", in quarantine" : ""}`,
  );
  row.cells[1].className = `state ${isLost ? "lost" : isAside ? "unhealthy" : instance.state}`;
  setText(row.cells[2], machine.name);
  setTime(row.cells[3].firstElementChild, instance.since);
}

/** Shows the latest jobs, newest first. */
export function showJobs(page) {
  fill(byId("jobs"), page.items, newJobRow, fillJobRow);
  byId("no-jobs").hidden = page.items.length > 0;
  byId("more-jobs").hidden = page.next === null;
}

function newJobRow(row) {
  addCells(row, ["number", "", "state", "number wide", "number wide", "wide"]);
  row.cells[0].append(document.createElement("a"));
  addNote(row.cells[1]);
  row.cells[5].append(document.createElement("time"));
}

function fillJobRow(row, job) {
  const link = row.cells[0].firstElementChild;
  setText(link, String(job.number));
  if (link.hash !== `#${job.id}`) {
    link.href = `#${job.id}`;
    link.setAttribute("aria-label", `Job ${job.number}, details`);
  }
  const name = row.cells[1].firstElementChild;
  setText(name, job.name ?? job.id);
  name.className = job.name === null ? "id" : "";
  setText(row.cells[1].lastElementChild, happened(job));
  setText(row.cells[2], statusText(job));
  row.cells[2].className = `state ${job.status}`;
  setText(row.cells[3], String(job.attemptCount));
  setText(row.cells[4], String(job.outputCount));
  setTime(row.cells[5].firstElementChild, job.createdAt);
}

/** A job's status in words. */
export function statusText(job) {
  if (job.poison) return `${job.status}, set aside`;
  return job.held ? `${job.status}, held` : job.status;
}

/** What a person wants to know next about a job: how far it is, why it waits, why it failed. */
export function happened(job) {
  if (job.status === "completed") {
    if (job.changes !== null && job.changes.loss !== "none") return job.changes.steps.at(-1);
    return job.attemptCount > 1 ? "recovered" : "";
  }
  if (job.status === "processing" && job.progress !== null) {
    return `${Math.round(job.progress.percent)} %`;
  }
  if (job.waitingReason !== null) return job.waitingReason;
  return job.error === null ? "" : `${job.error.class}: ${job.error.message}`;
}

/** Makes a table's rows those of `items`. A row is known by its item's id. */
function fill(body, items, make, update) {
  const known = new Map([...body.rows].map((row) => [row.dataset.id, row]));
  for (const [index, item] of items.entries()) {
    let row = known.get(item.id);
    known.delete(item.id);
    if (row === undefined) {
      row = document.createElement("tr");
      row.dataset.id = item.id;
      make(row);
    }
    update(row, item);
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
  }
  for (const row of known.values()) row.remove();
  body.parentElement.hidden = items.length === 0;
}

function addCells(row, classes) {
  for (const className of classes) row.insertCell().className = className;
}

function addNote(cell) {
  const note = document.createElement("p");
  note.className = "note";
  cell.append(document.createElement("span"), note);
}
