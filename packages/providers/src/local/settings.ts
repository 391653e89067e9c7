/** What a person writes to have machines that are processes of this host. */
import { z } from "zod";
import { absolutePath, texts, wholeNumber } from "../settings-fields.ts";

/** Most machines of one host. */
export const LOCAL_MACHINES_MAX = 64;

/** Settings below `local:`. */
export const localSettingsSchema = z.strictObject(
  {
    root: absolutePath
      .optional()
      .describe("Folder with one folder a machine; without it one in the control plane's home."),
    command: texts(1, 100)
      .optional()
      .describe("What is started, one word an entry; without it `holdfast agent`."),
    maxMachines: wholeNumber(1, LOCAL_MACHINES_MAX)
      .optional()
      .describe(
        "Machines at a time, those that are ending included: at least the pool's `max`, which it is when it is left out.",
      ),
    graceSeconds: wholeNumber(0, 3_600)
      .default(60)
      .describe("From SIGTERM, at which an agent lets its jobs go, to SIGKILL."),
    logMaxMb: wholeNumber(1, 10_000)
      .default(20)
      .describe(
        "Size of a machine's log at which its older half is put aside, and what was there is dropped.",
      ),
    keepEnded: wholeNumber(0, 1_000)
      .default(5)
      .describe("Folders of ended machines that are kept, the latest ones."),
  },
  { error: "expected a mapping of settings" },
);

/** Settings as they are used. */
export type LocalSettings = z.output<typeof localSettingsSchema>;
