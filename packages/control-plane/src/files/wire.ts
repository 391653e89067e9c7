import { instantSchema, pageSchema, sha256Schema } from "@holdfast/contract";
import { z } from "zod";

/** `fil_…`: an input file. */
export const fileIdSchema = z.string().regex(/^fil_[0-9a-z]{26}$/);

/** An input file as lists and `GET /api/v1/files/{id}` show it. */
export const fileSchema = z.object({
  id: fileIdSchema,
  name: z.string().meta({ description: "What graphs call it." }),
  owner: z.string(),
  sha256: sha256Schema,
  sizeBytes: z.int(),
  mediaType: z.string(),
  url: z.string(),
  createdAt: instantSchema,
});
/** See {@link fileSchema}. */
export type FileView = z.infer<typeof fileSchema>;
export const filePageSchema = pageSchema(fileSchema);

/** Query of an upload. */
export const uploadQuerySchema = z.strictObject({
  name: z.string().max(1024).optional().meta({
    description: "The file's name; folders are separated by /. Needed for a body of raw bytes.",
  }),
  sha256: sha256Schema.optional().meta({ description: "Refuse the body unless it has this hash." }),
});

/** JSON body of `POST /api/v1/files` without `name` in the query: fetch the file from a URL. */
export const importFileSchema = z.strictObject({
  url: z.string().min(1).max(2048),
  name: z.string().max(1024).optional(),
});
