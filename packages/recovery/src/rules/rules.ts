import { AUTH_RULES } from "./auth.ts";
import { BENIGN_RULES } from "./benign.ts";
import { CRASH_RULES } from "./crash.ts";
import { DEPENDENCY_RULES } from "./dependency.ts";
import { DISK_RULES } from "./disk.ts";
import { GPU_FAULT_RULES } from "./gpu-fault.ts";
import { GPU_MEMORY_RULES } from "./gpu-memory.ts";
import { HOST_MEMORY_RULES } from "./host-memory.ts";
import { MODEL_FILE_RULES } from "./model-files.ts";
import { NETWORK_RULES } from "./network.ts";
import { NODE_RULES } from "./nodes.ts";
import { PERMISSION_RULES } from "./permission.ts";
import type { MessageRule } from "./rule.ts";
import { TIMEOUT_RULES } from "./timeout.ts";
import { TOPIC_RULES } from "./topics.ts";
import { WORKFLOW_RULES } from "./workflow.ts";

/** Every built-in row of the pattern table; among equally sure ones the earlier family wins. */
export const BUILT_IN_RULES: readonly MessageRule[] = [
  ...DISK_RULES,
  ...GPU_MEMORY_RULES,
  ...HOST_MEMORY_RULES,
  ...GPU_FAULT_RULES,
  ...CRASH_RULES,
  ...NODE_RULES,
  ...MODEL_FILE_RULES,
  ...DEPENDENCY_RULES,
  ...WORKFLOW_RULES,
  ...AUTH_RULES,
  ...PERMISSION_RULES,
  ...TIMEOUT_RULES,
  ...NETWORK_RULES,
  ...BENIGN_RULES,
  ...TOPIC_RULES,
];
