import { schemaReference, type SchemaKey } from "@holdfast/yaml-file";
import { manifestForm } from "./manifest-form.ts";

/** Every key of the manifest in the order of the schema, parents before what is in them. */
export function manifestReference(): readonly SchemaKey[] {
  return schemaReference(manifestForm().schema);
}
