/** The routes of CONTRACTS C3 beside the logs: all answered from memory. */
import { HoldfastError } from "@holdfast/contract";
import type { FastifyInstance, FastifyReply } from "fastify";
import type { ServiceReport } from "../services/model.ts";
import {
  toHealthAnswer,
  toServiceAnswer,
  toTransitionAnswer,
  type ProgramFacts,
} from "./answers.ts";
import type { HealthMetrics } from "./health-metrics.ts";
import type { BriefRequests } from "./http-app.ts";
import type { MachineView } from "./machine-view.ts";
import type { ReadyAnswer, ServicesAnswer, TransitionsAnswer } from "./model.ts";

/** What the routes answer from. */
export interface RouteOptions {
  readonly view: () => MachineView;
  readonly program: () => ProgramFacts;
  readonly metrics: HealthMetrics;
  readonly brief: BriefRequests;
}

interface ServiceParams {
  Params: { service: string };
}

const JSON_TYPE = "application/json; charset=utf-8";
const OK = 200;
const UNAVAILABLE = 503;

/** Adds the routes. */
export function addRoutes(app: FastifyInstance, options: RouteOptions): void {
  const { view, metrics } = options;
  const services = createServicesText();

  // 200 whatever the state: it tells how the machine is, and an answer means that the agent lives.
  app.get("/health", (_request, reply) => {
    const { services: all, facts } = view();
    return sendJson(reply, OK, toHealthAnswer(all.summary(), facts(), options.program()));
  });
  app.get("/services", (_request, reply) => reply.type(JSON_TYPE).send(services(view())));
  app.get<ServiceParams>("/services/:service/health", (request, reply) => {
    const report = reportOf(view(), request.params.service);
    return sendJson(reply, report.state === "healthy" ? OK : UNAVAILABLE, toServiceAnswer(report));
  });
  app.get<ServiceParams>("/services/:service/transitions", (request, reply) => {
    const { name } = reportOf(view(), request.params.service);
    const transitions = view().services.transitions(name).map(toTransitionAnswer);
    return sendJson(reply, OK, { service: name, transitions } satisfies TransitionsAnswer);
  });
  app.get("/ready", (request, reply) => {
    const { isReady, state, reason } = view().services.summary();
    const brief: ReadyAnswer = { ready: isReady };
    const answer: ReadyAnswer = options.brief.has(request) ? brief : { ...brief, state, reason };
    return sendJson(reply, isReady ? OK : UNAVAILABLE, answer);
  });
  app.get("/metrics", async (_request, reply) => {
    const text = await metrics.text();
    return await reply.type(metrics.contentType).send(text);
  });
}

/** The report of a service; `not_found`, with those that there are, when there is none. */
export function reportOf(view: MachineView, name: string): ServiceReport {
  const report = view.services.report(name);
  if (report !== undefined) return report;
  const names = view.services.reports().map((one) => one.name);
  const there = names.length === 0 ? "there are none" : `there are ${names.join(", ")}`;
  throw new HoldfastError("not_found", `no such service: ${name}; ${there}`, {
    details: { services: names },
  });
}

/** The text of `GET /services`, made once for as long as the registry has nothing new. */
function createServicesText(): (view: MachineView) => string {
  let madeFrom: readonly ServiceReport[] | undefined;
  let text = "";
  return ({ services }) => {
    const reports = services.reports();
    if (reports !== madeFrom) {
      const { state } = services.summary();
      const answer: ServicesAnswer = { state, services: reports.map(toServiceAnswer) };
      text = JSON.stringify(answer);
      madeFrom = reports;
    }
    return text;
  };
}

function sendJson(reply: FastifyReply, status: number, answer: unknown): FastifyReply {
  return reply.code(status).type(JSON_TYPE).send(JSON.stringify(answer));
}
