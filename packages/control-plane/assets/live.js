// The plain live page: reads the API, listens to its event stream, and says when it is not live.
// Until the dashboard is built this is all there is to see; it needs no build step.

const REFRESH_MIN_MS = 250;
const RECONNECT_MS = 2_000;
const KEY_NAME = "holdfast-api-key";
const JOBS_SHOWN = 50;

const byId = (id) => document.getElementById(id);
const headers = () => {
  const key = sessionStorage.getItem(KEY_NAME);
  return key === null ? {} : { authorization: `Bearer ${key}` };
};

class KeyNeeded extends Error {}

async function read(path) {
  const answer = await fetch(path, { headers: headers(), cache: "no-store" });
  if (answer.status === 401 || answer.status === 403)
    throw new KeyNeeded((await answer.json()).error.message);
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

function cell(row, content, className) {
  const td = row.insertCell();
  if (className) td.className = className;
  if (content instanceof Node) td.append(content);
  else td.textContent = content ?? "";
  return td;
}

function time(instant) {
  const element = document.createElement("time");
  element.dateTime = instant;
  element.textContent = new Date(instant).toLocaleTimeString();
  element.title = new Date(instant).toLocaleString();
  return element;
}

function showStats(stats) {
  const rows = [
    ["Waiting", stats.jobs.queued],
    ["Running", stats.jobs.processing],
    ["Recovering", stats.jobs.recovering],
    ["Completed", stats.jobs.completed],
    ["Failed", stats.jobs.failed + stats.jobs.timeout],
    ["Cancelled", stats.jobs.cancelled],
    ["Held", stats.held],
    ["Done in the last hour", stats.completedLastHour],
  ];
  byId("stats").replaceChildren(
    ...rows.map(([name, value]) => {
      const group = document.createElement("div");
      const term = document.createElement("dt");
      const figure = document.createElement("dd");
      term.textContent = name;
      figure.textContent = Number(value ?? 0).toLocaleString();
      group.append(term, figure);
      return group;
    }),
  );
}

function showInstances(machines) {
  const body = document.createElement("tbody");
  let count = 0;
  let anySimulated = false;
  for (const machine of machines) {
    for (const instance of machine.instances) {
      const row = body.insertRow();
      count += 1;
      anySimulated ||= instance.simulated === true;
      cell(row, `${instance.name}${instance.simulated ? " (simulated)" : ""}`);
      cell(row, `${machine.name}${machine.state === "lost" ? " (lost)" : ""}`);
      const state = instance.cordoned ? `${instance.state}, cordoned` : instance.state;
      cell(
        row,
        instance.reason ? `${state}: ${instance.reason}` : state,
        `state ${instance.state}`,
      );
      cell(row, time(instance.since));
    }
  }
  body.id = "instances";
  byId("instances").replaceWith(body);
  byId("no-instances").hidden = count > 0;
  byId("simulated").hidden = !anySimulated;
}

function happened(job) {
  if (job.error && job.status !== "completed") return `${job.error.class}: ${job.error.message}`;
  if (job.waitingReason && job.status !== "completed") return job.waitingReason;
  if (job.progress) return `${Math.round(job.progress.percent)} %`;
  if (job.status === "completed" && job.attemptCount > 1) return "recovered";
  return "";
}

function showJobs(jobs) {
  const body = document.createElement("tbody");
  for (const job of jobs) {
    const row = body.insertRow();
    const link = document.createElement("a");
    link.href = `/api/v1/jobs/${job.id}`;
    link.textContent = job.number;
    cell(row, link, "number");
    cell(row, job.name ?? job.id);
    cell(row, job.poison ? `${job.status} (set aside)` : job.status, `state ${job.status}`);
    cell(row, job.attemptCount, "number");
    cell(row, happened(job));
    const outputs = document.createElement("a");
    outputs.href = `/api/v1/jobs/${job.id}/outputs`;
    outputs.textContent = job.outputCount;
    cell(row, job.outputCount > 0 ? outputs : "", "number");
    cell(row, time(job.createdAt));
  }
  body.id = "jobs";
  byId("jobs").replaceWith(body);
  byId("no-jobs").hidden = jobs.length > 0;
}

function setLive(isLive, text) {
  const live = byId("live");
  live.className = isLive ? "on" : "off";
  if (live.textContent !== text) live.textContent = text;
}

async function refresh() {
  const [stats, jobs, machines] = await Promise.all([
    read("/api/v1/stats"),
    read(`/api/v1/jobs?limit=${JOBS_SHOWN}`),
    read("/api/v1/machines"),
  ]);
  byId("key").hidden = true;
  showStats(stats);
  showInstances(machines.machines);
  showJobs(jobs.items);
}

let pending = false;
let lastAt = 0;
/** Refreshes soon; many events become one refresh. */
function refreshSoon() {
  if (pending) return;
  pending = true;
  setTimeout(
    () => {
      pending = false;
      lastAt = Date.now();
      refresh().catch(showProblem);
    },
    Math.max(0, lastAt + REFRESH_MIN_MS - Date.now()),
  );
}

function showProblem(error) {
  if (error instanceof KeyNeeded) {
    byId("key").hidden = false;
    byId("key-problem").textContent =
      sessionStorage.getItem(KEY_NAME) === null ? "" : error.message;
    setLive(false, "a key is needed");
    return;
  }
  setLive(false, "not live, reconnecting");
}

/** Follows the event stream by `fetch`, because `EventSource` cannot send a key. */
async function follow() {
  for (;;) {
    try {
      await refresh();
      const answer = await fetch("/api/v1/events", {
        headers: { ...headers(), accept: "text/event-stream" },
      });
      if (!answer.ok || answer.body === null) throw new Error(`events answered ${answer.status}`);
      setLive(true, "live");
      refreshSoon();
      const reader = answer.body.getReader();
      for (;;) {
        const { done } = await reader.read();
        if (done) break;
        refreshSoon();
      }
    } catch (error) {
      showProblem(error);
    }
    setTimeout(() => document.dispatchEvent(new Event("holdfast:wake")), RECONNECT_MS);
    await new Promise((resolve) =>
      document.addEventListener("holdfast:wake", resolve, { once: true }),
    );
  }
}

byId("key").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY_NAME, byId("key-text").value.trim());
  document.dispatchEvent(new Event("holdfast:wake"));
});

// Progress changes without an event: look again now and then while something runs.
setInterval(() => {
  if (!document.hidden && byId("live").className === "on") refreshSoon();
}, 2_000);

void follow();
