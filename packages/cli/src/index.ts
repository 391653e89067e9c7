export { main } from "./main.ts";
export { EXIT, EXIT_CODES_IN_WORDS, type ExitCode } from "./exit-codes.ts";
