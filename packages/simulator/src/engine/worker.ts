import { setImmediate as nextTurn } from "node:timers/promises";
import { ProcessGoneError, WorkerEndedError } from "../nodes/raised.ts";
import type { ProcessState } from "./process-state.ts";
import { PromptRun } from "./prompt-run.ts";

/**
 * The one thread that runs prompts. Ends when the process dies; a `SystemExit`, and whatever is
 * raised outside of a node, ends it too, and nothing else notices (F26).
 */
export async function runWorker(state: ProcessState): Promise<void> {
  const { events, log } = state.parts;
  while (!state.life.signal.aborted) {
    const taken = state.queue.take();
    if (taken === null) {
      state.applyFree();
      await state.untilWoken();
      continue;
    }
    state.parts.faults.promptStarts(taken.item[1]);
    state.tellQueue();
    state.promptCount += 1;
    try {
      const entry = await new PromptRun(state, taken.item).execute();
      if (state.life.signal.aborted) return;
      state.queue.done(taken.ticket);
      state.history.add(entry);
    } catch (error) {
      if (error instanceof ProcessGoneError) return;
      if (error instanceof WorkerEndedError) {
        log(`simulated: the prompt thread has ended: ${error.message}`);
        state.isZombie = true;
        return;
      }
      throw error;
    }
    state.tellQueue();
    if (state.clientId !== null) {
      const data = { node: null, prompt_id: taken.item[1] };
      events.send("executing", data, state.clientId);
    }
    state.parts.faults.afterPrompt();
    state.applyFree();
    await state.parts.untilAwake();
    // Lets requests in between two prompts: a yield, not a wait.
    await nextTurn();
  }
}
