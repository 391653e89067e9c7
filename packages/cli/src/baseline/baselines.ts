import { join } from "node:path";

/** Where baselines are below `--root`: a folder each, named by its day. */
export const BASELINES = join("observability", "baselines");
