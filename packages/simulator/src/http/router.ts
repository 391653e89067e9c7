import type { ProcessState } from "../engine/process-state.ts";
import type { Simulation } from "../simulation.ts";
import { SERVER_FEATURES } from "../sockets.ts";
import { faultRoutes } from "./fault-routes.ts";
import { uploadImage, uploadMask, viewFile } from "./file-routes.ts";
import {
  getEmbeddings,
  getMetadata,
  getModelFiles,
  getModels,
  getObjectInfo,
  getSystemStats,
  MODEL_FOLDERS,
} from "./info-routes.ts";
import {
  getHistory,
  getHistoryOf,
  getQueue,
  postFree,
  postHistory,
  postInterrupt,
  postPrompt,
  postQueue,
} from "./prompt-routes.ts";
import { empty, json, notFound, serverError, text, type Reply } from "./reply.ts";
import { parseJson, type SimRequest } from "./request.ts";

type Handler = (request: SimRequest, state: ProcessState, simulation: Simulation) => Reply;

const PAGE =
  "<!doctype html><title>simulated ComfyUI</title><h1>simulated ComfyUI</h1>" +
  "<p>This is Holdfast's simulator. It has no front end and renders nothing real.</p>";

const EXACT: Readonly<Record<string, Readonly<Record<string, Handler>>>> = {
  "/": {
    GET: () => ({
      status: 200,
      headers: { "Content-Type": "text/html", "Cache-Control": "no-cache" },
      body: PAGE,
    }),
  },
  "/prompt": {
    GET: (_request, state) => json(state.queueInfo()),
    POST: (request, state, simulation) =>
      postPrompt(state, request, simulation.queueLimit, simulation.mintPromptId),
  },
  "/queue": { GET: (_request, state) => getQueue(state), POST: (r, state) => postQueue(state, r) },
  "/history": {
    GET: (r, state) => getHistory(state, r),
    POST: (r, state) => postHistory(state, r),
  },
  "/interrupt": { POST: (request, state) => postInterrupt(state, request) },
  "/free": { POST: (request, state) => postFree(state, request) },
  "/object_info": { GET: (_request, state) => getObjectInfo(state) },
  "/system_stats": {
    GET: (_request, state, simulation) => getSystemStats(state, simulation.deviceName),
  },
  "/view": {
    GET: (request, state, simulation) => viewFile(state.parts.files, request, simulation.tamper),
  },
  "/upload/image": { POST: (request, state) => uploadImage(state.parts.files, request) },
  "/upload/mask": { POST: (request, state) => uploadMask(state.parts.files, request) },
  "/models": { GET: () => json(MODEL_FOLDERS) },
  "/embeddings": { GET: (_request, state) => getEmbeddings(state) },
  "/features": { GET: () => json(SERVER_FEATURES) },
  "/extensions": { GET: () => json([]) },
  "/users": { GET: () => json({ storage: "server", migrated: false }) },
  "/i18n": { GET: () => json({}) },
  "/workflow_templates": { GET: () => json({}) },
  "/settings": {
    GET: (_request, _state, simulation) => json(Object.fromEntries(simulation.settings)),
    POST: (request, _state, simulation) => {
      const given = parseJson(request) as Readonly<Record<string, unknown>>;
      for (const [key, value] of Object.entries(given)) simulation.settings.set(key, value);
      return empty();
    },
  },
};

const PREFIXES: readonly (readonly [
  string,
  string,
  (rest: string, ...args: Parameters<Handler>) => Reply,
])[] = [
  ["GET", "/history/", (id, _request, state) => getHistoryOf(state, id)],
  ["GET", "/object_info/", (name, _request, state) => getObjectInfo(state, name)],
  ["GET", "/models/", (folder, _request, state) => getModels(state, folder)],
  ["GET", "/experiment/models/", (folder, _r, _s, simulation) => getModelFiles(simulation, folder)],
  ["GET", "/view_metadata/", (folder, r, _s, simulation) => getMetadata(simulation, folder, r)],
  ["GET", "/settings/", (key, _r, _s, simulation) => json(simulation.settings.get(key) ?? null)],
  [
    "POST",
    "/settings/",
    (key, request, _state, simulation) => {
      simulation.settings.set(key, parseJson(request));
      return empty();
    },
  ],
];

/** Finds who answers a request, and lets it. */
export function route(request: SimRequest, simulation: Simulation): Reply {
  const { state } = simulation;
  if (request.path.startsWith("/simulator/")) return faultRoutes(request, simulation);
  if (request.method === "OPTIONS") return empty();
  const method = request.method === "HEAD" ? "GET" : request.method;
  try {
    const exact = EXACT[request.path];
    const handler = exact?.[method];
    if (handler !== undefined) return handler(request, state, simulation);
    if (exact !== undefined) return text(405, "405: Method Not Allowed");
    for (const [verb, prefix, answer] of PREFIXES) {
      if (verb !== method || !request.path.startsWith(prefix)) continue;
      return answer(
        decodeURIComponent(request.path.slice(prefix.length)),
        request,
        state,
        simulation,
      );
    }
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof URIError) return serverError();
    throw error;
  }
  return notFound();
}
