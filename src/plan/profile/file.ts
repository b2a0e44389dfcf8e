import { z } from 'zod'
import { InputError, show } from '../../core/errors.ts'
import { canonicalJson, readText, writeAtomic } from '../../core/files.ts'
import { check, parseJson } from '../../core/schema.ts'
import { modelSpecSchema } from '../../model/catalog.ts'
import { precisionSchema } from '../../model/precision.ts'
import { attentionUnits } from '../../model/spec.ts'
import { CALIBRATION_SCHEMA, PROFILE_SCHEMA } from './types.ts'
import type { Profile } from './types.ts'

/** A profile takes tens of kilobytes; a much larger file is not a profile. */
export const MAX_PROFILE_BYTES = 4 * 1024 * 1024

const MAX_KNOTS = 512
const text = z.string().max(2000)
const amount = z.number().min(0).max(1e18)
const positive = z.number().gt(0).max(1e18)

/** Whether a figure was measured, modelled or assumed, and by what. */
export const provenanceSchema = z.strictObject({
  kind: z.enum(['measured', 'modelled', 'assumed']),
  source: text.min(1),
})
/** A figure and its provenance, in JSON. */
export const figureSchema = z.strictObject({ value: amount, provenance: provenanceSchema })

const ascending = z
  .array(z.int().min(1))
  .min(1)
  .max(MAX_KNOTS)
  .refine(
    (knots) => knots.every((knot, i) => i === 0 || knot > knots[i - 1]),
    'integers that rise, each above the one before',
  )

const curve = z
  .strictObject({
    knots: ascending,
    seconds: z.array(positive).max(MAX_KNOTS),
    relativeSpread: z.array(amount).max(MAX_KNOTS).optional(),
    provenance: provenanceSchema,
  })
  .refine((c) => c.seconds.length === c.knots.length, { path: ['seconds'], message: 'one value a knot' })
  .refine((c) => c.relativeSpread === undefined || c.relativeSpread.length === c.knots.length, {
    path: ['relativeSpread'],
    message: 'one value a knot',
  })

const surface = z
  .strictObject({
    knots: ascending,
    units: ascending,
    seconds: z.array(positive).max(MAX_KNOTS * 256),
    relativeSpread: z
      .array(amount)
      .max(MAX_KNOTS * 256)
      .optional(),
    provenance: provenanceSchema,
  })
  .refine((s) => s.seconds.length === s.knots.length * s.units.length, {
    path: ['seconds'],
    message: 'one value for each knot and number of units',
  })
  .refine((s) => s.relativeSpread === undefined || s.relativeSpread.length === s.seconds.length, {
    path: ['relativeSpread'],
    message: 'one value for each knot and number of units',
  })

const blocks = z.strictObject({
  embed: curve,
  attention: z.strictObject({ prefill: surface, decode: surface }),
  ffn: z.strictObject({ whole: curve, first: curve, second: curve }),
  head: figureSchema,
})

const batch = z
  .strictObject({ sizes: ascending, factors: z.array(positive).max(MAX_KNOTS), provenance: provenanceSchema })
  .refine((b) => b.factors.length === b.sizes.length, { path: ['factors'], message: 'one value a size' })
  .refine((b) => b.sizes[0] === 1 && b.factors[0] === 1, {
    path: ['factors', 0],
    message: 'factor 1 at size 1, the first',
  })

const MAX_CALIBRATION_TERMS = 1024
const label = z.string().min(1).max(200)

/** Schema of `edgewise.calibration/1`, as part of a profile. */
const calibrationSchema = z.strictObject({
  schema: z.literal(CALIBRATION_SCHEMA),
  at: label,
  file: text.min(1).optional(),
  terms: z
    .array(
      z.strictObject({
        term: label,
        link: label,
        medianRelativeError: z.number().min(-1e9).max(1e9),
        p95RelativeError: z.number().min(0).max(1e9),
        noise: z.number().min(0).max(1e9),
        count: z.int().min(1).max(1e9),
      }),
    )
    .min(1)
    .max(MAX_CALIBRATION_TERMS),
  verdict: z.enum(['met', 'missed']),
})

/** Schema of `edgewise.profile/1`; knows which axes must cover the model. */
const profileSchema = z
  .strictObject({
    schema: z.literal(PROFILE_SCHEMA),
    device: z.strictObject({
      id: text.min(1),
      description: text,
      threads: z.int().min(1).max(4096),
      memoryBytes: positive,
    }),
    runtime: z.strictObject({ name: text, version: text }),
    precision: precisionSchema,
    model: modelSpecSchema,
    blocks,
    dispatchSeconds: figureSchema.optional(),
    wakeSeconds: figureSchema.optional(),
    wire: z.strictObject({ messageSeconds: figureSchema }).optional(),
    load: z.strictObject({ segmentSeconds: figureSchema }).optional(),
    kvCache: z
      .strictObject({
        bytesPerElement: z.strictObject({
          value: z.number().positive().max(8),
          provenance: provenanceSchema,
        }),
      })
      .optional(),
    memory: z.strictObject({ residentBytesPerWeightByte: figureSchema }).optional(),
    loadBytesPerSecond: z.strictObject({ value: positive, provenance: provenanceSchema }),
    power: z.strictObject({
      busyWatts: figureSchema,
      idleWatts: figureSchema,
      radioJoulesPerByte: figureSchema,
      radioJoulesPerMessage: figureSchema,
    }),
    batch,
    decisionSeconds: figureSchema,
    measuredTokens: z.strictObject({ prompt: z.int().min(1), context: z.int().min(1) }).optional(),
    calibration: calibrationSchema.optional(),
  })
  .superRefine((profile, context) => {
    const { attention, embed, ffn } = profile.blocks
    const last = profile.model.contextTokens
    const axes: [string, number[], number][] = [
      ['embed.knots', embed.knots, last],
      ['attention.prefill.knots', attention.prefill.knots, last],
      ['attention.decode.knots', attention.decode.knots, last],
      ['ffn.whole.knots', ffn.whole.knots, last],
      ['ffn.first.knots', ffn.first.knots, last],
      ['ffn.second.knots', ffn.second.knots, last],
      ['attention.prefill.units', attention.prefill.units, attentionUnits(profile.model)],
      ['attention.decode.units', attention.decode.units, attentionUnits(profile.model)],
    ]
    for (const [place, knots, end] of axes) {
      if (knots[0] === 1 && knots[knots.length - 1] === end) continue
      context.addIssue({
        code: 'custom',
        path: ['blocks', ...place.split('.')],
        message: `knots from 1 to ${end}, the whole range of the model`,
      })
    }
  })

/** Checks a value against the schema of its version; `where` names it in errors. */
export function checkProfile(value: unknown, where: string): Profile {
  const schema =
    value !== null && typeof value === 'object' ? (value as { schema?: unknown }).schema : undefined
  if (schema !== PROFILE_SCHEMA) {
    throw new InputError({
      where: `${where}: schema`,
      expected: PROFILE_SCHEMA,
      found: show(schema),
      remedy: 'make the profile again with `edgewise profile`',
    })
  }
  return check(profileSchema, value, where)
}

/** Reads a profile from the text of a file. Throws only InputError. */
export function parseProfile(content: string, where: string): Profile {
  return checkProfile(parseJson(content, where), where)
}

/** Reads a profile from a file. */
export function readProfile(path: string): Profile {
  return parseProfile(readText(path, MAX_PROFILE_BYTES), path)
}

/** The file's text: canonical JSON, so that equal profiles give equal bytes. */
export function formatProfile(profile: Profile): string {
  return `${canonicalJson(profile)}\n`
}

/** Checks a profile and writes it atomically. */
export function writeProfile(path: string, profile: Profile): void {
  writeAtomic(path, formatProfile(checkProfile(profile, path)))
}
