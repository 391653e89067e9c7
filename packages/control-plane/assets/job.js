// One job in a dialog: what became of it, its attempts and its outputs. It opens by the address
// (`/#job_…`), so that a link to a job can be sent, and the browser's Back closes it.

import { currentKey, get, NotFound, read } from "./api.js";
import { byId, make, setText } from "./elements.js";
import { happened, statusText } from "./tables.js";

const JOB_HASH = /^#(job_[0-9a-z]+)$/;
/** Types that may be opened in the page's own origin: nothing in them runs. */
const SHOWN_TYPES = new Set([
  "image/png",
  "image/jpeg",
  "image/webp",
  "image/gif",
  "image/avif",
  "image/bmp",
]);
/** Larger pictures are only offered as downloads. */
const MAX_SHOWN_BYTES = 64 * 1024 * 1024;

const dialog = byId("job");
/** Object URLs of what is shown, to be given back when the dialog closes. */
const objectUrls = new Set();
/** What is shown, as text: an unchanged part is not made anew. */
let shownOutputs = "";
let shownAttempts = "";

function wantedId() {
  return JOB_HASH.exec(location.hash)?.[1];
}

/** Opens, refreshes or closes the dialog, as the address says. Throws what reading throws. */
export async function showJob(signal) {
  const id = wantedId();
  if (id === undefined) {
    if (dialog.open) dialog.close();
    return;
  }
  let job, outputs, attempts;
  try {
    [job, { outputs }, { attempts }] = await Promise.all([
      read(`/api/v1/jobs/${id}`, signal),
      read(`/api/v1/jobs/${id}/outputs`, signal),
      read(`/api/v1/jobs/${id}/attempts`, signal),
    ]);
  } catch (error) {
    if (!(error instanceof NotFound)) throw error;
    if (wantedId() !== id) return;
    setText(byId("job-title"), "Job");
    setText(byId("job-problem"), error.message);
    byId("job-content").hidden = true;
    open();
    return;
  }
  if (wantedId() !== id) return;
  setText(byId("job-title"), `Job ${job.number}${job.name === null ? "" : `: ${job.name}`}`);
  setText(byId("job-problem"), "");
  byId("job-content").hidden = false;
  setText(byId("job-id"), job.id);
  setText(byId("job-status"), statusText(job));
  byId("job-status").className = `state ${job.status}`;
  setText(byId("job-happened"), happened(job));
  showOutputs(outputs);
  showAttempts(attempts);
  open();
}

function open() {
  if (!dialog.open) dialog.showModal();
}

function showAttempts(attempts) {
  byId("job-no-attempts").hidden = attempts.length > 0;
  const text = JSON.stringify(attempts);
  if (text === shownAttempts) return;
  shownAttempts = text;
  byId("job-attempts").replaceChildren(
    ...attempts.map((attempt) => {
      const item = make("li");
      const outcome = attempt.outcome ?? attempt.state;
      item.append(make("span", outcome, `state ${outcome}`), ` on ${attempt.instanceName}`);
      if (attempt.error !== null) {
        item.append(make("p", `${attempt.error.class}: ${attempt.error.message}`, "note"));
      }
      if (attempt.decision !== null && attempt.outcome !== "succeeded") {
        const { action, reason } = attempt.decision;
        item.append(make("p", `${action}: ${reason}`, "note"));
      }
      if (attempt.resume !== null) item.append(make("p", resumeText(attempt.resume), "note"));
      for (const checkpoint of attempt.checkpoints) {
        item.append(make("p", checkpointText(checkpoint), "note"));
      }
      return item;
    }),
  );
}

function resumeText({ fromAttempt, nodeIds, savedMs }) {
  const nodes = `${nodeIds.length === 1 ? "node" : "nodes"} ${nodeIds.join(", ")}`;
  return `went on from attempt ${fromAttempt}: ${nodes} not run again, ${seconds(savedMs)} saved`;
}

function checkpointText({ nodeId, sizeBytes, spentMs, keptUntil, problem }) {
  if (problem !== null) return `checkpoint of node ${nodeId} is of no use: ${problem}`;
  const until = new Date(keptUntil).toLocaleString();
  return `put away node ${nodeId}: ${sizeText(sizeBytes)} after ${seconds(spentMs)}, kept until ${until}`;
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

function showOutputs(outputs) {
  byId("job-no-outputs").hidden = outputs.length > 0;
  const text = JSON.stringify(outputs);
  if (text === shownOutputs) return;
  shownOutputs = text;
  releaseObjectUrls();
  byId("job-outputs").replaceChildren(
    ...outputs.map((output) => {
      const item = make("li");
      const link = make("a");
      link.href = output.url;
      if (isShown(output)) {
        const picture = make("img");
        picture.alt = "";
        link.append(picture);
        link.target = "_blank";
        void showPicture(picture, link, output);
      } else if (currentKey() !== null) {
        link.addEventListener("click", (event) => {
          event.preventDefault();
          void download(output);
        });
      }
      link.append(make("span", output.name));
      item.append(link, make("p", sizeText(output.sizeBytes), "note"));
      if (output.text !== null) item.append(make("pre", output.text));
      return item;
    }),
  );
}

function isShown(output) {
  return SHOWN_TYPES.has(output.mediaType) && output.sizeBytes <= MAX_SHOWN_BYTES;
}

/** An `<img>` or a link cannot send a key: with one, the bytes are fetched and shown from memory. */
async function showPicture(picture, link, output) {
  if (currentKey() === null) {
    picture.src = output.url;
    return;
  }
  try {
    const url = await objectUrl(output);
    picture.src = url;
    link.href = url;
  } catch (error) {
    link.after(make("p", error.message, "problem"));
  }
}

async function download(output) {
  try {
    const link = make("a");
    link.href = await objectUrl(output);
    link.download = output.name.split("/").at(-1);
    link.click();
  } catch (error) {
    setText(byId("job-problem"), error.message);
  }
}

async function objectUrl(output) {
  const answer = await get(output.url, { accept: "*/*" });
  const url = URL.createObjectURL(await answer.blob());
  objectUrls.add(url);
  return url;
}

function releaseObjectUrls() {
  for (const url of objectUrls) URL.revokeObjectURL(url);
  objectUrls.clear();
}

function sizeText(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1_000_000
    ? `${Math.round(bytes / 1000).toLocaleString()} kB`
    : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

byId("job-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // The darkened page around it.
});
dialog.addEventListener("close", () => {
  if (wantedId() !== undefined) history.replaceState(null, "", location.pathname);
  releaseObjectUrls();
  shownOutputs = "";
  shownAttempts = "";
  byId("job-outputs").replaceChildren();
  byId("job-attempts").replaceChildren();
});
