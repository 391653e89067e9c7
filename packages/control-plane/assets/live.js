// The plain live page: reads the API, listens to its event stream, and says when it is not live.
// Until the dashboard is built this is all there is to see; it needs no build step.

import { currentKey, get, KeyRefused, read, setKey } from "./api.js";
import { byId, setText } from "./elements.js";
import { showJob } from "./job.js";
import { showInstances, showJobs, showStats } from "./tables.js";

/** Many events become one refresh. */
const REFRESH_MIN_MS = 250;
/** Progress changes without an event: look again now and then. */
const REFRESH_MAX_MS = 2_000;
const RECONNECT_MS = 2_000;
/** The server breaks its silence every 15 s; a stream that is silent for longer is dead. */
const SILENCE_LIMIT_MS = 40_000;
const JOBS_SHOWN = 50;

/** When the page was last right, as a `Date`; undefined before the first time. */
let liveAt;
/** True while something may have changed that is not shown yet. */
let isStale = true;

const wakeUps = new EventTarget();
const wakeUp = () => wakeUps.dispatchEvent(new Event("wake-up"));

/** Waits, but not longer than until the next `wakeUp()`. */
function pause(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    wakeUps.addEventListener(
      "wake-up",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}

async function refresh(signal) {
  const [stats, jobs, machines] = await Promise.all([
    read("/api/v1/stats", signal),
    read(`/api/v1/jobs?limit=${JOBS_SHOWN}`, signal),
    read("/api/v1/machines", signal),
  ]);
  showStats(stats);
  showInstances(machines.machines);
  showJobs(jobs);
  byId("key").hidden = true;
  byId("forget-key").hidden = currentKey() === null;
  byId("content").hidden = false;
  await showJob(signal);
}

function showLive() {
  liveAt = new Date();
  const live = byId("live");
  live.className = "on";
  setText(live, "live");
}

function showNotLive(why) {
  const live = byId("live");
  live.className = "off";
  const since = liveAt === undefined ? "" : ` since ${liveAt.toLocaleTimeString()}`;
  setText(live, `not live${since}: ${why}`);
}

function askForKey(message) {
  const form = byId("key");
  const isNew = form.hidden;
  form.hidden = false;
  byId("content").hidden = true;
  byId("forget-key").hidden = true;
  if (byId("job").open) byId("job").close();
  setText(byId("key-problem"), currentKey() === null ? "" : message);
  byId("key-text").setAttribute("aria-invalid", String(currentKey() !== null));
  const live = byId("live");
  live.className = "off";
  setText(live, "an API key is needed");
  if (isNew) byId("key-text").focus();
}

/** Reads the stream to its end: each event makes the page stale. Throws when it is silent for too long. */
async function listen(body, connection) {
  const reader = body.getReader();
  for (;;) {
    const silence = setTimeout(
      () => connection.abort(new Error("the server is silent")),
      SILENCE_LIMIT_MS,
    );
    try {
      const { done } = await reader.read();
      if (done) throw new Error("the server ended the stream");
    } finally {
      clearTimeout(silence);
    }
    isStale = true;
    wakeUp();
  }
}

/** Refreshes what is stale, one refresh at a time; nobody looks at a hidden page. */
async function keepFresh(signal) {
  while (!signal.aborted) {
    const started = Date.now();
    if (!document.hidden) {
      isStale = false;
      await refresh(signal);
      showLive();
    }
    await pause(isStale && !document.hidden ? 0 : REFRESH_MAX_MS);
    await new Promise((resolve) =>
      setTimeout(resolve, Math.max(0, started + REFRESH_MIN_MS - Date.now())),
    );
  }
}

/**
 * One connection, until it breaks; throws why. The stream comes first, so that nothing happens unseen
 * between the first look and it. `fetch`, because an `EventSource` cannot send a key.
 */
async function follow() {
  const connection = new AbortController();
  try {
    const { body } = await get("/api/v1/events", {
      accept: "text/event-stream",
      signal: connection.signal,
    });
    await Promise.race([listen(body, connection), keepFresh(connection.signal)]);
  } finally {
    connection.abort();
  }
}

async function run() {
  for (;;) {
    try {
      await follow();
    } catch (error) {
      if (error instanceof KeyRefused) {
        askForKey(error.message);
        await pause(2 ** 31 - 1); // Only another key helps.
        continue;
      }
      // A browser's own words for a lost connection ("Failed to fetch") help nobody.
      const isUnreachable = error instanceof TypeError || error.name === "TimeoutError";
      const why = isUnreachable ? "the server does not answer" : error.message;
      showNotLive(`${why}; reconnecting`);
    }
    await pause(RECONNECT_MS);
  }
}

byId("key").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(byId("key-text").value.trim());
  byId("key-text").value = "";
  wakeUp();
});
byId("forget-key").addEventListener("click", () => {
  setKey(null);
  location.reload();
});
const lookNow = () => {
  isStale = true;
  wakeUp();
};
document.addEventListener("visibilitychange", lookNow);
window.addEventListener("online", lookNow);
window.addEventListener("hashchange", lookNow);

void run();
