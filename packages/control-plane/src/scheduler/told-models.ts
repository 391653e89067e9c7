import type { WantedModel } from "@holdfast/contract";
import type { AgentSession } from "./model.ts";

/** Machines remembered; forgetting one costs its next poll an early answer. */
const MACHINES_REMEMBERED = 20_000;

/** What each machine was told that it should fetch: a poll that waits is ended only for news. */
export interface ToldModels {
  /** To be asked right before an answer is made: news is told with it, and no news from then on. */
  look(
    agent: AgentSession,
    models: readonly WantedModel[],
  ): { readonly models: readonly WantedModel[]; readonly isNews: boolean };
}

/** Makes {@link ToldModels}. An answer that gets lost is made good by the next one, at the latest after its wait. */
export function createToldModels(): ToldModels {
  const told = new Map<string, string>();
  return {
    look({ machineId, session }, models) {
      if (models.length === 0) {
        told.delete(machineId);
        return { models, isNews: false };
      }
      const text = `${String(session)} ${JSON.stringify(models)}`;
      const isNews = told.get(machineId) !== text;
      if (isNews && told.size >= MACHINES_REMEMBERED) told.clear();
      told.set(machineId, text);
      return { models, isNews };
    },
  };
}
