import { z } from 'zod'
import { InputError } from '../../core/errors.ts'
import { check, parseJson, readConfig } from '../../core/schema.ts'
import { attentionUnits } from '../../model/spec.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { BOUNDARY_LOSS, EXIT_THRESHOLDS, exitFigures } from './published.ts'
import type { ShareSource } from './published.ts'
import { figureSchema, provenanceSchema } from './file.ts'
import type { Figure, Provenance, ProvenanceKind } from './types.ts'

/** Format and version of an accuracy table; another one is refused by name. */
export const ACCURACY_SCHEMA = 'edgewise.accuracy/1'

/** Bits per element of a boundary tensor. */
type BoundaryWidth = 32 | 16 | 8 | 4

/** Figures of leaving after the first `layer` layers at one threshold. */
interface ExitEntry {
  readonly layer: number
  readonly threshold: number
  /** Share of tokens whose confidence reaches the threshold (collaborative mode); the cloud is asked for the others. */
  readonly leaveShare: Figure
  /** Added log-perplexity (nats per token) if every token leaves here. */
  readonly standaloneLoss: Figure
  /** Added log-perplexity if only the confident ones do. */
  readonly collaborativeLoss: Figure
}

/** Added log-perplexity of one crossing into one layer. */
export interface LayerLoss {
  readonly layer: number
  readonly bits: BoundaryWidth
  readonly loss: Figure
}

/**
 * Accuracy losses of plans: an assumed table until a model is measured (docs/model.md (32) and (33)). A split alone
 * loses nothing.
 */
export interface AccuracyTable {
  readonly schema: typeof ACCURACY_SCHEMA
  readonly modelId: string
  /** Added log-perplexity of one crossing of the boundary, by bits per element. */
  readonly boundary: readonly { readonly bits: BoundaryWidth; readonly lossPerCrossing: Figure }[]
  /** The same by the layer that the crossing leads into, where `model.layers` is the lm_head; absent: not measured. */
  readonly boundaryByLayer?: readonly LayerLoss[]
  readonly exits: readonly ExitEntry[]
  /** For each layer its units from least to most sensitive: the first k go to the cloud. */
  readonly ranking: { readonly unitsByLayer: readonly (readonly number[])[]; readonly provenance: Provenance }
}

/**
 * The table of a model for which nothing is measured yet; `shares` selects the published data set of the exit shares.
 */
export function accuracyTable(model: ModelSpec, shares: ShareSource = 'alpaca'): AccuracyTable {
  const order = Array.from({ length: attentionUnits(model) }, (_, unit) => unit)
  return {
    schema: ACCURACY_SCHEMA,
    modelId: model.id,
    boundary: BOUNDARY_LOSS,
    exits: exitLayers(model).flatMap(({ layer, depth }) =>
      EXIT_THRESHOLDS.map((threshold) => ({
        layer,
        threshold,
        ...exitFigures(depth, threshold, shares, model.id),
      })),
    ),
    ranking: {
      unitsByLayer: Array.from({ length: model.layers }, () => order),
      provenance: { kind: 'assumed', source: 'index order: no sensitivity was measured' },
    },
  }
}

/** The two exits of CE-CoLLM, after a quarter and a half of the layers; one if they coincide. */
function exitLayers(model: ModelSpec): { layer: number; depth: 'quarter' | 'half' }[] {
  const quarter = Math.max(1, Math.round(model.layers / 4))
  const half = Math.max(1, Math.round(model.layers / 2))
  const last = { layer: half, depth: 'half' as const }
  if (half >= model.layers) return []
  return quarter < half ? [{ layer: quarter, depth: 'quarter' }, last] : [last]
}

const exitEntry = z.strictObject({
  layer: z.int().min(1),
  threshold: z.number().gt(0).max(1),
  leaveShare: figureSchema.refine((share) => share.value <= 1, { path: ['value'], message: 'a share, 0..1' }),
  standaloneLoss: figureSchema,
  collaborativeLoss: figureSchema,
})

const width = z.union([z.literal(32), z.literal(16), z.literal(8), z.literal(4)])

/** An accuracy table in JSON: losses in nats a token, each with its provenance. */
export const accuracySchema = z.strictObject({
  schema: z.literal(ACCURACY_SCHEMA),
  modelId: z.string().min(1).max(64),
  boundary: z
    .array(
      z.strictObject({
        bits: width,
        lossPerCrossing: figureSchema,
      }),
    )
    .refine(
      (rows) => new Set(rows.map((row) => row.bits)).size === 4 && rows.length === 4,
      'one row for each of 32, 16, 8 and 4 bits',
    ),
  boundaryByLayer: z
    .array(z.strictObject({ layer: z.int().min(0), bits: width, loss: figureSchema }))
    .max(4 * 256)
    .optional(),
  exits: z.array(exitEntry).max(4096),
  ranking: z.strictObject({
    unitsByLayer: z.array(z.array(z.int().min(0))).max(255),
    provenance: provenanceSchema,
  }),
})

/** Reads a user's table (YAML or JSON, edgewise.accuracy/1) and checks that it fits the model. */
export function readAccuracyTable(path: string, model: ModelSpec): AccuracyTable {
  return checkFits(readConfig(accuracySchema, path), path, model)
}

/** The same from the text of a JSON file, because a device that reads a bundle has no YAML parser. */
export function parseAccuracyTable(content: string, path: string, model: ModelSpec): AccuracyTable {
  return checkFits(check(accuracySchema, parseJson(content, path), path), path, model)
}

function checkFits(table: AccuracyTable, path: string, model: ModelSpec): AccuracyTable {
  const fits = (holds: boolean, place: string, expected: string, found: string) => {
    if (!holds)
      throw new InputError({
        where: `${path}: ${place}`,
        expected,
        found,
        remedy: `fit the table to ${model.id}`,
      })
  }
  fits(table.modelId === model.id, 'modelId', model.id, table.modelId)
  const crossings = new Set<string>()
  for (const [i, { layer, bits }] of (table.boundaryByLayer ?? []).entries()) {
    const place = `boundaryByLayer.${i}`
    fits(layer <= model.layers, `${place}.layer`, `at most ${model.layers}`, String(layer))
    fits(!crossings.has(`${layer}/${bits}`), place, 'each layer and width once', 'a second entry')
    crossings.add(`${layer}/${bits}`)
  }
  const places = new Set<string>()
  for (const [i, exit] of table.exits.entries()) {
    fits(exit.layer < model.layers, `exits.${i}.layer`, `below ${model.layers} layers`, String(exit.layer))
    fits(
      !places.has(`${exit.layer}/${exit.threshold}`),
      `exits.${i}`,
      'each exit and threshold once',
      'a second entry',
    )
    places.add(`${exit.layer}/${exit.threshold}`)
  }
  const rows = table.ranking.unitsByLayer
  fits(rows.length === model.layers, 'ranking.unitsByLayer', `${model.layers} layers`, `${rows.length}`)
  const units = attentionUnits(model)
  for (const [layer, row] of rows.entries()) {
    const whole = row.length === units && new Set(row).size === units && Math.max(...row) === units - 1
    fits(
      whole,
      `ranking.unitsByLayer.${layer}`,
      `each unit 0..${units - 1} once`,
      JSON.stringify(row).slice(0, 80),
    )
  }
  return table
}

/** The weakest provenance in a table: `measured` only if all figures are. 32 bits are exact, whatever their label. */
export function accuracyKind({ boundary, exits, ranking }: AccuracyTable): ProvenanceKind {
  const figures = [
    ...boundary.filter(({ bits }) => bits < 32).map(({ lossPerCrossing }) => lossPerCrossing),
    ...exits.flatMap((exit) => [exit.leaveShare, exit.standaloneLoss, exit.collaborativeLoss]),
    ranking,
  ]
  const kinds = new Set(figures.map(({ provenance }) => provenance.kind))
  return (['assumed', 'modelled'] as const).find((kind) => kinds.has(kind)) ?? 'measured'
}

/** Added log-perplexity of one crossing at `bits` per element. */
export function boundaryLoss(table: AccuracyTable, bits: number): number {
  const row = table.boundary.find((candidate) => candidate.bits === bits)
  if (row === undefined) {
    throw new InputError({ where: 'boundary bits', expected: '32, 16, 8 or 4', found: String(bits) })
  }
  return row.lossPerCrossing.value
}

/**
 * Added log-perplexity of one crossing into `layer` (`model.layers`: the lm_head) at `bits` per element; the mean over
 * all places if this one was not measured.
 */
export function layerBoundaryLoss(table: AccuracyTable, layer: number, bits: number): number {
  const row = table.boundaryByLayer?.find((candidate) => candidate.layer === layer && candidate.bits === bits)
  return row?.loss.value ?? boundaryLoss(table, bits)
}

/** The entry of an exit. Throws InputError if the table has none. */
export function exitEntryOf(table: AccuracyTable, layer: number, threshold: number): ExitEntry {
  const entry = table.exits.find(
    (candidate) => candidate.layer === layer && candidate.threshold === threshold,
  )
  if (entry === undefined) {
    throw new InputError({
      where: `early exit of ${table.modelId}`,
      expected: `one of ${table.exits.map((exit) => `layer ${exit.layer} at ${exit.threshold}`).join(', ') || 'no exits'}`,
      found: `layer ${layer} at ${threshold}`,
    })
  }
  return entry
}
