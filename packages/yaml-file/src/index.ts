export {
  inFileOrder,
  listedProblems,
  ofWholeFile,
  placed,
  problemLines,
  PROBLEMS_MAX,
  type FileProblem,
} from "./file-problem.ts";
export { joinFindings, pathText, type Finding, type Findings, type YamlPath } from "./finding.ts";
export { nearestName } from "./nearest-name.ts";
export { parseYaml, type ParsedYaml, type YamlProblem } from "./parse-yaml.ts";
export { type FileForm, type ShapeProblem, type UnfitChoice } from "./problem-words.ts";
export { readBySchema, type FileKind, type SchemaReading } from "./read-by-schema.ts";
export { type MappingWords } from "./read-mapping.ts";
export { schemaReference, type SchemaKey } from "./schema-reference.ts";
export { schemaTree, type SchemaNode } from "./schema-words.ts";
export { isSecretName } from "./shown-value.ts";
export type { Position, YamlPlaces } from "./yaml-positions.ts";
