import { z } from 'zod'

/** Schemas shared by both families. Hugging Face's files have many more fields, which are ignored. */

export const count = z.int().min(1)

/**
 * A field that may be absent or null, and otherwise must be one of `allowed`: other values would need computation that
 * is not supported.
 */
export function only(...allowed: readonly (string | number | boolean)[]) {
  return z
    .unknown()
    .refine(
      (value) => value === undefined || value === null || allowed.some((one) => one === value),
      `${allowed.map((one) => JSON.stringify(one)).join(' or ')}: nothing else is supported`,
    )
    .optional()
}

/** Fields of every family. */
export const sharedFields = {
  quantization_config: z
    .unknown()
    .refine(
      (value) => value === undefined || value === null,
      'no quantization_config: weights must be floats',
    )
    .optional(),
  is_encoder_decoder: only(false),
  add_cross_attention: only(false),
  edgewise: z
    .looseObject({
      id: z.string().optional(),
      exitLayers: z.array(count).max(255).optional(),
    })
    .optional(),
}
