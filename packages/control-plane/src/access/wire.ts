import { instantSchema, pageSchema } from "@holdfast/contract";
import { z } from "zod";
import { ENROLMENT_STATES, MAX_ENROLMENT_SECONDS, MIN_ENROLMENT_SECONDS } from "./enrolment.ts";
import { MAX_ALLOWED_CLASSES, MAX_KEY_NAME_LENGTH, ROLES } from "./model.ts";

/** One of the roles of a caller. */
export const roleSchema = z.enum(ROLES);
/** `key_…`: an API key, and the owner of what it makes. */
export const keyIdSchema = z.string().regex(/^key_[0-9a-z]{26}$/);

const allowedClassesSchema = z
  .array(z.string().min(1).max(256))
  .max(MAX_ALLOWED_CLASSES)
  .nullable()
  .meta({ description: "Node classes that graphs of this key may use; null allows all." });

/** A key as lists show it. */
export const apiKeySchema = z.object({
  id: keyIdSchema,
  name: z.string(),
  role: roleSchema,
  allowedClasses: z.array(z.string()).nullable(),
  createdAt: instantSchema,
  lastUsedAt: instantSchema.nullable(),
  expiresAt: instantSchema.nullable(),
  revokedAt: instantSchema.nullable(),
  machineId: z.string().nullable().meta({
    description: "The one machine that a key made by enrolment acts as.",
  }),
});
/** See {@link apiKeySchema}. */
export type ApiKeyView = z.infer<typeof apiKeySchema>;
export const apiKeyPageSchema = pageSchema(apiKeySchema);

/** `POST /api/v1/keys`. */
export const createKeySchema = z.strictObject({
  name: z.string().min(1).max(MAX_KEY_NAME_LENGTH),
  role: roleSchema,
  allowedClasses: allowedClassesSchema.optional(),
  expiresAt: instantSchema.nullable().optional().meta({
    description: "When the key ends by itself; null or left out: never.",
  }),
});

/** Answer to `POST /api/v1/keys`. `text` is shown here and never again. */
export const createdKeySchema = z.object({ key: apiKeySchema, text: z.string() });

/** `GET /api/v1/me`. */
export const meSchema = z.object({
  id: z.string(),
  role: roleSchema,
  allowedClasses: z.array(z.string()).nullable(),
  keysRequired: z.boolean().meta({ description: "False while no API key exists." }),
});

/** `enr_…`: a one-time token. */
export const enrolmentIdSchema = z.string().regex(/^enr_[0-9a-z]{26}$/);

/** A one-time token as lists show it. */
export const enrolmentSchema = z.object({
  id: enrolmentIdSchema,
  name: z.string(),
  machineName: z.string().nullable(),
  state: z.enum(ENROLMENT_STATES),
  createdAt: instantSchema,
  expiresAt: instantSchema,
  revokedAt: instantSchema.nullable(),
  usedAt: instantSchema.nullable(),
  usedByName: z.string().nullable(),
  keyId: z.string().nullable(),
});
/** See {@link enrolmentSchema}. */
export type EnrolmentView = z.infer<typeof enrolmentSchema>;
export const enrolmentPageSchema = pageSchema(enrolmentSchema);

/** `POST /api/v1/enrolments`. */
export const createEnrolmentSchema = z.strictObject({
  name: z.string().min(1).max(MAX_KEY_NAME_LENGTH),
  ttlSeconds: z
    .int()
    .min(MIN_ENROLMENT_SECONDS)
    .max(MAX_ENROLMENT_SECONDS)
    .optional()
    .meta({ description: "How long it may be used. Default one hour." }),
  machineName: z
    .string()
    .min(1)
    .max(128)
    .nullable()
    .optional()
    .meta({ description: "The one name under which a machine may use it; null: any." }),
});

/** Answer to `POST /api/v1/enrolments`. `text` is shown here and never again. */
export const createdEnrolmentSchema = z.object({ enrolment: enrolmentSchema, text: z.string() });
