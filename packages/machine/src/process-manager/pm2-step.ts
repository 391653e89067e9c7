import { StepFailure, type Step } from "../install/model.ts";
import { findPm2, installPm2, PM2_VERSION, type Pm2ToolOptions } from "./pm2-tool.ts";

/** The installer's step that provides PM2: found, or installed into the tools folder. */
export function pm2Step(options: Pm2ToolOptions): Step {
  return {
    id: "tools.pm2",
    title: "PM2, which keeps the instances' processes",
    isOptional: false,
    after: [],
    lane: "tools",
    async check(context) {
      const found = await findPm2(options, context.signal);
      if (found.kind === "missing") return { kind: "needed", detail: found.reason };
      return { kind: "done", detail: `PM2 ${found.program.version} in ${found.program.path}` };
    },
    async apply(context) {
      context.progress({ done: 0, total: null, unit: "items", detail: `PM2 ${PM2_VERSION}` });
      await installPm2(options, context.signal, (line) => context.log(line));
    },
    async verify(context) {
      const found = await findPm2(options, context.signal);
      if (found.kind === "found") return;
      throw new StepFailure(
        `PM2 was installed and is not there: ${found.reason}`,
        `Look whether ${options.tools} can be written to, and run the installation again.`,
      );
    },
  };
}
