import { parseFaultRule } from "../faults/rules.ts";
import type { Simulation } from "../simulation.ts";
import { empty, json, notFound, text, type Reply } from "./reply.ts";
import { parseJson, type SimRequest } from "./request.ts";

/** The simulator's own paths: `/simulator/faults` and `/simulator/stats`. No real ComfyUI has them. */
export function faultRoutes(request: SimRequest, simulation: Simulation): Reply {
  const id = /^\/simulator\/faults\/([^/]+)$/.exec(request.path)?.[1];
  if (id !== undefined && request.method === "DELETE") {
    simulation.faults.clear(id);
    return empty(204);
  }
  if (request.path === "/simulator/stats") return json(simulation.stats());
  if (request.path !== "/simulator/faults") return notFound();
  switch (request.method) {
    case "GET":
      return json({ faults: simulation.faults.list() });
    case "DELETE":
      simulation.faults.clear();
      return empty(204);
    case "POST": {
      const rule = parseFaultRule(readJson(request));
      if (typeof rule === "string") return json({ error: `simulated fault: ${rule}` }, 400);
      return json({ id: simulation.faults.add(rule) }, 201);
    }
    default:
      return text(405, "405: Method Not Allowed");
  }
}

function readJson(request: SimRequest): unknown {
  try {
    return parseJson(request);
  } catch {
    // No JSON: the rule parser says what was expected.
    return null;
  }
}
