import { parseGraph, type GraphLimits } from "@holdfast/comfyui/protocol";
import {
  HoldfastError,
  pageQuerySchema,
  profilePageSchema,
  putProfilesSchema,
  storedProfilesSchema,
  type MeasuredProfile,
  type ProfileView,
} from "@holdfast/contract";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { ALLOWED } from "../access/model.ts";
import { readPageLimit, toInstant, toInstantOrNull } from "../access/pages.ts";
import type { Access } from "../access/service.ts";
import type { Profile } from "./profile.ts";
import type { MeasuredGraph, ProfilesService } from "./service.ts";
import { peakOf, runsOf, type Spread } from "./statistics.ts";

/** What the routes of profiles need. */
export interface ProfileRouteOptions {
  readonly access: Access;
  readonly profiles: ProfilesService;
  readonly graphLimits: GraphLimits;
}

const tags = ["profiles"];

/** `/api/v1/profiles`: what graphs cost on which cards. */
export const profileRoutes: FastifyPluginAsyncZod<ProfileRouteOptions> = async (app, options) => {
  const { access, profiles, graphLimits } = options;

  app.get(
    "/api/v1/profiles",
    {
      schema: {
        tags,
        summary: "List what is known of graphs' costs on kinds of cards",
        querystring: pageQuerySchema,
        response: { 200: profilePageSchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      const { cursor } = request.query;
      const limit = readPageLimit(request.query);
      const found = await profiles.list(
        cursor === undefined ? null : readCursor(cursor),
        limit + 1,
      );
      const items = found.slice(0, limit);
      const last = items.at(-1);
      const hasMore = found.length > limit && last !== undefined;
      return { items: items.map(toView), next: hasMore ? toCursor(last) : null };
    },
  );

  app.put(
    "/api/v1/profiles",
    {
      schema: {
        tags,
        summary: "Tell what graphs cost, as measured",
        description:
          "Times are added to what is known of the same graph on the same card, as so many runs; silences count where they are longer. What jobs show later is added too. The same request once more changes nothing: times that were measured no later than the last ones are not added.",
        body: putProfilesSchema,
        response: { 200: storedProfilesSchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.operate);
      const measured = request.body.profiles.map((profile, at) =>
        toMeasured(profile, at, graphLimits),
      );
      await profiles.put(measured);
      return { stored: measured.length };
    },
  );
};

function toMeasured(profile: MeasuredProfile, at: number, limits: GraphLimits): MeasuredGraph {
  const parsed = parseGraph(profile.graph, limits);
  if (parsed.kind === "refused") {
    throw new HoldfastError("invalid_request", `profiles[${at}].graph: ${parsed.message}`, {
      details: { field: `profiles[${at}].graph`, code: parsed.code },
    });
  }
  return { ...profile, graph: parsed.graph, measuredAt: Date.parse(profile.measuredAt) };
}

const CURSOR_PATTERN = /^([0-9a-f]{32})(.{0,128})$/s;

function toCursor({ costKey, card }: Profile): string {
  return Buffer.from(`${costKey}${card}`, "utf8").toString("base64url");
}

function readCursor(text: string): { readonly costKey: string; readonly card: string } {
  const [, costKey, card] =
    CURSOR_PATTERN.exec(Buffer.from(text, "base64url").toString("utf8")) ?? [];
  if (costKey === undefined || card === undefined || card.includes("\0")) {
    throw new HoldfastError("invalid_cursor", "cursor is not the `next` of a page before");
  }
  return { costKey, card };
}

function toView(profile: Profile): ProfileView {
  const { statistics, measuredAt, card } = profile;
  return {
    costKey: profile.costKey,
    gpuName: card === "" ? null : card,
    shape: profile.shape,
    values: profile.values.map((value) => ({ ...value })),
    models: [...profile.models],
    runs: runsOf(statistics),
    warm: toTimes(statistics.warmMs),
    cold: toTimes(statistics.coldMs),
    longestSilenceMs: peakOf(statistics.stepSilenceMs),
    longestWarmLoadMs: peakOf(statistics.warmLoadSilenceMs),
    longestColdLoadMs: peakOf(statistics.coldLoadSilenceMs),
    loadMs: statistics.loadMs,
    vramPeakBytes: statistics.vramPeakBytes,
    measuredAt: toInstantOrNull(measuredAt),
    updatedAt: toInstant(profile.updatedAt),
  };
}

function toTimes(spread: Spread | null): ProfileView["warm"] {
  if (spread === null) return null;
  const { count: runs, mean, variance } = spread;
  return { runs, meanMs: rounded(mean), deviationMs: rounded(Math.sqrt(variance)) };
}

function rounded(ms: number): number {
  return Math.round(ms * 10) / 10;
}
