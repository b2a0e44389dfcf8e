import type { Profile, Surface } from '../../plan/profile/types.ts'
import { BlockCosts } from '../../plan/profile/costs.ts'
import { formatBytes, formatNumber, formatSeconds, formatShare, formatWatts } from '../../report/numbers.ts'
import type { TableStyle } from '../../report/table.ts'
import { renderTable } from '../../report/table.ts'
import type { Figure } from '../../plan/profile/types.ts'

/** A typical chat for the estimate below the table: tokens of the prompt, and the context of the decode step. */
const TYPICAL_TOKENS = 256

/** A profile for people: its blocks, its other figures, and their sum. */
export function describeProfile(profile: Profile, style: TableStyle): string {
  const { device, model, runtime } = profile
  const threads = `${device.threads} thread${device.threads === 1 ? '' : 's'}`
  return [
    `${model.id} on ${device.id}: ${device.description}`,
    `${runtime.name} ${runtime.version}, ${profile.precision}, ${threads}`,
    '',
    blockTable(profile, style),
    '',
    figureTable(profile, style),
    '',
    wholeModel(profile),
    ...reach(profile),
  ].join('\n')
}

function blockTable(profile: Profile, style: TableStyle): string {
  const { embed, attention, ffn, head } = profile.blocks
  const rows: string[][] = []
  const add = (
    name: string,
    knots: readonly number[],
    seconds: readonly number[],
    spread: readonly number[] | undefined,
    kind: string,
    measured: number | undefined = profile.measuredTokens?.prompt,
  ): void => {
    for (const at of sampleIndices(knots.length)) {
      const beyond = measured !== undefined && knots[at] > measured
      const share = beyond ? '' : formatShare(spread?.[at])
      rows.push([
        name,
        formatNumber(knots[at]),
        formatSeconds(seconds[at]),
        share,
        beyond ? 'extrapolated' : kind,
      ])
    }
  }
  add('embedding, tokens', embed.knots, embed.seconds, embed.relativeSpread, embed.provenance.kind)
  const surfaces = [
    ['attention, prompt tokens', attention.prefill, profile.measuredTokens?.prompt],
    ['attention, one token at context', attention.decode, profile.measuredTokens?.context],
  ] as const
  for (const [name, surface, measured] of surfaces) {
    for (const column of new Set([0, surface.units.length - 1])) {
      const units = surface.units[column]
      const label = `${name} (${units} unit${units === 1 ? '' : 's'})`
      const pick = (values: readonly number[]): number[] => columnOf(surface, values, column)
      const spread = surface.relativeSpread === undefined ? undefined : pick(surface.relativeSpread)
      add(label, surface.knots, pick(surface.seconds), spread, surface.provenance.kind, measured)
    }
  }
  const parts = [
    ['FFN, tokens', ffn.whole],
    ['FFN first half, tokens', ffn.first],
    ['FFN second half, tokens', ffn.second],
  ] as const
  for (const [name, curve] of parts)
    add(name, curve.knots, curve.seconds, curve.relativeSpread, curve.provenance.kind)
  rows.push(['final norm and LM head', '1', formatSeconds(head.value), '', head.provenance.kind])
  const columns = [
    { title: 'block of one layer' },
    { title: 'at', align: 'right' },
    { title: 'median', align: 'right' },
    { title: 'spread (IQR)', align: 'right' },
    { title: 'provenance' },
  ] as const
  return renderTable({ columns, rows }, style)
}

/** First, middle and last index. */
function sampleIndices(length: number): number[] {
  return [...new Set([0, length >> 1, length - 1])]
}

function columnOf(surface: Surface, values: readonly number[], column: number): number[] {
  return surface.knots.map((_, knot) => values[knot * surface.units.length + column])
}

function figureTable(profile: Profile, style: TableStyle): string {
  const { power, memory } = profile
  const row = (
    name: string,
    figure: Figure | undefined,
    text: (value: number | undefined) => string,
  ): string[] => [name, text(figure?.value), figure?.provenance.kind ?? '', figure?.provenance.source ?? '']
  const rows = [
    ...(profile.dispatchSeconds === undefined
      ? []
      : [row('one call of a session', profile.dispatchSeconds, formatSeconds)]),
    ...(profile.wakeSeconds === undefined
      ? []
      : [row('more after a pause', profile.wakeSeconds, formatSeconds)]),
    ...(profile.wire === undefined
      ? []
      : [row('one message, both ends', profile.wire.messageSeconds, formatSeconds)]),
    ...(profile.load === undefined
      ? []
      : [row('making a session', profile.load.segmentSeconds, formatSeconds)]),
    row('loading weights', profile.loadBytesPerSecond, (value) => `${formatBytes(value)}/s`),
    row('memory over weight bytes', memory?.residentBytesPerWeightByte, (value) => formatNumber(value)),
    row('power, busy', power.busyWatts, formatWatts),
    row('power, idle', power.idleWatts, formatWatts),
    row('one decision', profile.decisionSeconds, formatSeconds),
  ]
  const columns = [
    { title: 'figure' },
    { title: 'value', align: 'right' },
    { title: 'provenance' },
    { title: 'source' },
  ] as const
  return renderTable({ columns, rows }, style)
}

/** Up to where the blocks were measured, where that is not the whole context. */
function reach({ measuredTokens, model }: Profile): string[] {
  if (measuredTokens === undefined) return []
  const { prompt, context } = measuredTokens
  return [
    `Measured up to prompts of ${formatNumber(prompt)} tokens and contexts of ${formatNumber(context)}; above, up to ` +
      `${formatNumber(model.contextTokens)}, extrapolated. --max-tokens measures further, as far as free memory goes.`,
  ]
}

/** One call and the sum of the blocks, with the whole model on this device. */
function wholeModel(profile: Profile): string {
  const { model } = profile
  const tokens = Math.min(TYPICAL_TOKENS, model.contextTokens - 1)
  const costs = new BlockCosts(profile)
  const { units } = costs
  const decode = costs.attentionDecodeCurve(units)
  const at = costs.contextKnots.findIndex((knot) => knot >= tokens)
  const layerPrefill = costs.attentionPrefillSeconds(tokens, units) + costs.ffnSeconds('whole', tokens)
  const layerDecode = decode[at] + costs.ffnSeconds('whole', 1)
  const ends = profile.blocks.head.value
  const prefill = costs.dispatchSeconds + costs.embedSeconds(tokens) + model.layers * layerPrefill + ends
  const token = costs.dispatchSeconds + costs.embedSeconds(1) + model.layers * layerDecode + ends
  return [
    `The whole model here, its ${model.layers} layers added up: ${formatSeconds(prefill)} for a prompt of ${tokens} tokens,`,
    `then ${formatSeconds(token)} a token at a context of ${formatNumber(costs.contextKnots[at])} (one call, whether it fits in memory or not).`,
  ].join('\n')
}
