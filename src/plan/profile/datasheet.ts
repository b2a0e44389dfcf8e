import { InputError, show } from '../../core/errors.ts'
import {
  attentionUnitParameters,
  attentionUnits,
  ffnParameters,
  lmHeadParameters,
  kvBytesPerUnitToken,
} from '../../model/spec.ts'
import type { FfnPart, ModelSpec } from '../../model/spec.ts'
import { builtinDevice, DEVICES } from './devices.ts'
import type { DeviceSheet } from './devices.ts'
import { fullGrid } from './grid.ts'
import type { ProfileGrid } from './grid.ts'
import { BYTES_PER_WEIGHT } from '../../model/precision.ts'
import type { Precision } from '../../model/precision.ts'
import { PROFILE_SCHEMA, ROOFLINE_RUNTIME } from './types.ts'
import type { Curve, Figure, Profile, Provenance } from './types.ts'
import { attentionDecodeWork, attentionPrefillWork, embedWork, ffnWork, headWork } from './work.ts'
import type { Work } from './work.ts'

/** Context at which the batch curve is taken: a common length of a chat. */
const BATCH_CONTEXT_TOKENS = 512

interface DatasheetOptions {
  /** Precision of the weights; default: the sheet's own. */
  readonly precision?: Precision
  readonly grid?: ProfileGrid
}

/**
 * A profile from the roofline model: every block takes max(FLOPs / F, bytes / BW) + dispatch (Williams et al., CACM
 * 2009), where F and BW are the sheet's peaks times the shares that kernels reach. Every figure is `modelled`. `device`
 * is a built-in id or a sheet (`loadDevice` reads one from a YAML file). Throws InputError for an unknown id.
 */
export function datasheetProfile(
  device: string | DeviceSheet,
  model: ModelSpec,
  options: DatasheetOptions = {},
): Profile {
  const sheet = typeof device === 'string' ? knownDevice(device) : device
  const precision = options.precision ?? sheet.precision
  const weight = BYTES_PER_WEIGHT[precision]
  const activation = precision === 'fp32' ? 4 : 2
  const grid = options.grid ?? fullGrid(model)
  const provenance: Provenance = { kind: 'modelled', source: `roofline of the data sheet of ${sheet.id}` }
  const seconds = (work: Work) => roofline(sheet, work)
  const curve = (work: (tokens: number) => Work): Curve => ({
    knots: grid.tokens,
    seconds: grid.tokens.map((tokens) => seconds(work(tokens))),
    provenance,
  })
  const surface = (knots: readonly number[], work: (knot: number, units: number) => Work) => ({
    knots,
    units: grid.units,
    seconds: knots.flatMap((knot) => grid.units.map((units) => seconds(work(knot, units)))),
    provenance,
  })
  const ffn = (part: FfnPart) => curve((tokens) => ffnWork(model, part, tokens, weight, activation))
  return {
    schema: PROFILE_SCHEMA,
    device: { id: sheet.id, description: sheet.description, threads: 1, memoryBytes: sheet.memoryBytes },
    runtime: { name: ROOFLINE_RUNTIME, version: '1' },
    precision,
    model,
    blocks: {
      embed: curve((tokens) => embedWork(model, tokens, weight, activation)),
      attention: {
        prefill: surface(grid.tokens, (tokens, units) =>
          attentionPrefillWork(model, tokens, units, weight, activation),
        ),
        decode: surface(grid.contexts, (context, units) =>
          attentionDecodeWork(model, context, units, weight, activation),
        ),
      },
      ffn: { whole: ffn('whole'), first: ffn('first'), second: ffn('second') },
      head: { value: seconds(headWork(model, weight, activation)), provenance },
    },
    kvCache: {
      bytesPerElement: {
        value: activation,
        provenance: {
          ...provenance,
          source: `${provenance.source}: K/V at the precision of its activations`,
        },
      },
    },
    loadBytesPerSecond: figure(sheet, 'loadBytesPerSecond'),
    power: {
      busyWatts: figure(sheet, 'busyWatts'),
      idleWatts: figure(sheet, 'idleWatts'),
      radioJoulesPerByte: figure(sheet, 'radioJoulesPerByte'),
      radioJoulesPerMessage: figure(sheet, 'radioJoulesPerMessage'),
    },
    batch: { ...batchCurve(sheet, model, weight, activation), provenance },
    decisionSeconds: figure(sheet, 'decisionSeconds'),
  }
}

function knownDevice(id: string): DeviceSheet {
  const sheet = builtinDevice(id)
  if (sheet !== null) return sheet
  const expected = `one of ${DEVICES.map((device) => device.id).join(', ')}`
  throw new InputError({ where: 'device', expected, found: show(id) })
}

function roofline(sheet: DeviceSheet, work: Work): number {
  const compute = work.flops / (sheet.flopsPerSecond * sheet.computeEfficiency)
  const memory = work.bytes / (sheet.bandwidthBytesPerSecond * sheet.bandwidthEfficiency)
  return Math.max(compute, memory) + sheet.dispatchSeconds
}

type FigureField =
  | 'loadBytesPerSecond'
  | 'busyWatts'
  | 'idleWatts'
  | 'radioJoulesPerByte'
  | 'radioJoulesPerMessage'
  | 'decisionSeconds'

function figure(sheet: DeviceSheet, field: FigureField): Figure {
  const source = sheet.sources[field] ?? `data sheet of ${sheet.id}, source not named`
  return { value: sheet[field], provenance: { kind: 'modelled', source } }
}

/**
 * Decode step of the whole model at batch b over that at batch 1: weights are read once, K/V caches once for each
 * sequence.
 */
function batchCurve(
  sheet: DeviceSheet,
  model: ModelSpec,
  weight: number,
  activation: number,
): { sizes: number[]; factors: number[] } {
  const units = attentionUnits(model)
  const perLayer = units * attentionUnitParameters(model) + ffnParameters(model, 'whole')
  const parameters = model.layers * perLayer + lmHeadParameters(model)
  const context = Math.min(BATCH_CONTEXT_TOKENS, model.contextTokens)
  const kvBytes = model.layers * units * kvBytesPerUnitToken(model, activation) * context
  const dispatch = sheet.dispatchSeconds * 2 * model.layers
  const step = (batch: number) =>
    roofline(sheet, { flops: 2 * parameters * batch, bytes: parameters * weight + kvBytes * batch }) +
    dispatch
  const sizes = Array.from({ length: sheet.batchSizes }, (_, i) => i + 1)
  return { sizes, factors: sizes.map((batch) => step(batch) / step(1)) }
}
