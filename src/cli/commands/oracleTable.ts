import { sumOf } from '../../plan/oracle/explain.ts'
import type { Objective } from '../../plan/price/objective.ts'
import type { OracleInput } from '../../plan/price/question.ts'
import { pairUnits, type DevicePair } from '../../plan/price/pair.ts'
import { CLOUD, EDGE, sideOfLayer, type Plan } from '../../plan/plan.ts'
import { accuracyKind } from '../../plan/profile/accuracy.ts'
import { profileLabel } from '../../plan/profile/precision.ts'
import { planToJson } from '../../plan/price/json.ts'
import { renderTextMaps } from '../../report/heatmapText.ts'
import type { PicturedPlan } from '../../report/planPicture.ts'
import { formatBytes, formatJoules, formatNumber, formatSeconds } from '../../report/numbers.ts'
import { renderTable, type TableStyle } from '../../report/table.ts'
import type { Candidate, CandidateName } from '../json/oracle.ts'
import { wholeOf } from '../json/oracle.ts'

const NAMES: Readonly<Record<CandidateName, string>> = {
  optimum: 'optimum',
  edgeOnly: 'edge-only',
  cloudOnly: 'cloud-only',
  bestLayerCut: 'best layer cut',
}

/** The comparison for people: figures, then where they come from, then the optimum as a map. */
export function describeOracle(
  input: OracleInput,
  candidates: readonly Candidate[],
  style: TableStyle,
): string {
  const sections = [
    headline(input),
    figureTable(input, candidates, style),
    ...absences(candidates),
    '',
    'What a token waits for (every second of the way to the last token):',
    timeTable(candidates, style),
    '',
    'Where edge joules and bytes go:',
    useTable(candidates, style),
    '',
    'Terms of the cost:',
    costTable(candidates, style),
  ]
  const best = candidates.find(({ name }) => name === 'optimum')?.plan ?? null
  if (best !== null) sections.push('', mapOf(input, best, 'optimum', style))
  return sections.join('\n')
}

/** The model, the pair, the link, and the weights that make the cost. */
export function headline(input: OracleInput): string {
  const { pair, state, options } = input
  const { link } = state
  const side = ({ device, blocks, precision }: typeof pair.edge.profile): string =>
    `${device.id} (${blocks.attention.decode.provenance.kind}, ${precision})`
  return [
    `${pair.model.id} on ${side(pair.edge.profile)} and ${side(pair.cloud.profile)}`,
    `link ${formatNumber(link.upBitsPerSecond / 1e6)} Mbit/s up, ${formatNumber(link.downBitsPerSecond / 1e6)} down, ` +
      `RTT ${formatSeconds(link.rttSeconds)}; prompt ${state.promptTokens}, answer ${state.outputTokens} tokens; ` +
      `edge memory ${formatBytes(options.memoryBytes)}`,
    weightsLine(input.objective),
    `accuracy loss: ${accuracyKind(pair.accuracy)}`,
    '',
  ].join('\n')
}

/** The profiles that a policy decides on, in words: device, provenance and precision of each side. */
export function figuresText({ edge, cloud }: DevicePair): string {
  return `figures of edge (${profileLabel(edge.profile)}) and cloud (${profileLabel(cloud.profile)})`
}

/** The objective in one line: every table of costs stands below it. */
export function weightsLine({ weights, latency }: Objective): string {
  const form =
    latency.form === 'mean'
      ? 'end to end'
      : latency.form === 'qoe'
        ? `TTFT + stalls of a reader at ${latency.readingTokensPerSecond} tokens/s`
        : `end to end + square past ${formatSeconds(latency.deadlineSeconds)}`
  return (
    `cost = ${weights.latency} x latency (s; ${form}) + ${weights.energy} x edge joules + ` +
    `${weights.cloud} x cloud busy s + ${weights.bytes} x MB up + ${weights.accuracy} x added log-perplexity`
  )
}

function figureTable(input: OracleInput, candidates: readonly Candidate[], style: TableStyle): string {
  const rows = candidates.flatMap(({ name, plan, cost }) =>
    plan === null || cost === null
      ? []
      : [
          [
            NAMES[name],
            describePlan(input, plan),
            formatNumber(cost.cost),
            formatSeconds(cost.ttftSeconds),
            cost.tpotSeconds === null ? 'one token' : formatSeconds(cost.tpotSeconds),
            formatSeconds(cost.e2eSeconds),
            formatJoules(cost.edgeJoules),
            formatSeconds(cost.cloudSeconds),
            formatBytes(cost.upBytes),
            formatBytes(cost.downBytes),
            formatNumber(cost.accuracyLoss),
          ],
        ],
  )
  const columns = [
    { title: '' },
    { title: 'plan' },
    ...['cost', 'TTFT', 'TPOT', 'end to end', 'edge J', 'cloud busy', 'up', 'down', 'loss'].map(right),
  ]
  return renderTable({ columns, rows, emphasis: [0] }, style)
}

function absences(candidates: readonly Candidate[]): string[] {
  return candidates.flatMap(({ name, reason }) => (reason === null ? [] : [`no ${NAMES[name]}: ${reason}`]))
}

/** Seconds of the candidates by cause, a column each, as text. */
export function timeTable(
  candidates: readonly Candidate[],
  style: TableStyle,
  names: Partial<Record<CandidateName, string>> = NAMES,
): string {
  const rows = candidates.flatMap(({ name, why }) => {
    if (why === null) return []
    const phases = [
      ['to the first token', why.prefill.seconds],
      ['after it', why.decode.seconds],
    ] as const
    return phases.map(([phase, parts], index) => [
      index === 0 ? (names[name] ?? name) : '',
      phase,
      formatSeconds(parts.edgeComputeSeconds),
      formatSeconds(parts.cloudComputeSeconds),
      formatSeconds(parts.uplinkSeconds),
      formatSeconds(parts.downlinkSeconds),
      formatSeconds(parts.roundTripSeconds),
      formatSeconds(sumOf(parts)),
    ])
  })
  const columns = [
    { title: '' },
    { title: 'phase' },
    ...['edge compute', 'cloud compute', 'uplink', 'downlink', 'round trips', 'sum'].map(right),
  ]
  return renderTable({ columns, rows }, style)
}

function useTable(candidates: readonly Candidate[], style: TableStyle): string {
  const rows = candidates.flatMap(({ name, why }) => {
    if (why === null) return []
    const { joules, use } = wholeOf(why)
    return [
      [
        NAMES[name],
        formatJoules(joules.idleJoules),
        formatJoules(joules.computeJoules),
        formatJoules(joules.radioUpJoules + joules.radioDownJoules),
        formatJoules(joules.messageJoules),
        formatJoules(sumOf(joules)),
        formatBytes(why.prefill.use.upBytes),
        formatBytes(why.decode.use.upBytes),
        formatBytes(why.prefill.use.downBytes),
        formatBytes(why.decode.use.downBytes),
        formatNumber(use.messages),
      ],
    ]
  })
  const titles = ['idle', 'compute', 'radio bytes', 'radio tails', 'sum', 'prompt up', 'decode up']
  const columns = [{ title: '' }, ...[...titles, 'prompt down', 'decode down', 'messages'].map(right)]
  return renderTable({ columns, rows }, style)
}

function costTable(candidates: readonly Candidate[], style: TableStyle): string {
  const rows = candidates.flatMap(({ name, why }) => {
    if (why === null) return []
    const { latency, energy, cloud, bytes, accuracy } = why.cost
    const terms = [latency, energy, cloud, bytes, accuracy, sumOf(why.cost)]
    return [[NAMES[name], ...terms.map((term) => formatNumber(term))]]
  })
  const columns = [{ title: '' }, ...['latency', 'energy', 'cloud', 'bytes', 'accuracy', 'sum'].map(right)]
  return renderTable({ columns, rows }, style)
}

function right(title: string) {
  return { title, align: 'right' } as const
}

/** A plan in a few words. */
export function describePlan(input: Pick<OracleInput, 'pair'>, plan: Plan): string {
  const { layers } = input.pair.model
  if (plan.exit !== null) {
    const { layer, threshold, mode } = plan.exit
    return mode === 'standalone'
      ? `exit after layer ${layer}`
      : `exit after layer ${layer} at ${threshold}, ${plan.boundaryBits} bits`
  }
  const units = pairUnits(input.pair)
  const counts = { [EDGE]: 0, [CLOUD]: 0, split: 0 }
  for (let layer = 0; layer < layers; layer++) counts[sideOfLayer(plan, layer, units) ?? 'split']++
  if (counts[EDGE] === layers && plan.embed !== CLOUD && plan.head !== CLOUD) return 'all on the edge'
  if (counts[CLOUD] === layers && plan.embed === CLOUD && plan.head === CLOUD) return 'all in the cloud'
  const parts = [
    ...(counts[EDGE] > 0 ? [`${counts[EDGE]} edge`] : []),
    ...(counts.split > 0 ? [`${counts.split} split`] : []),
    ...(counts[CLOUD] > 0 ? [`${counts[CLOUD]} cloud`] : []),
  ]
  const widths = [...new Set(plan.layerBits ?? [plan.boundaryBits])].sort((a, b) => b - a)
  return `layers: ${parts.join(', ')}; ${widths.join(', ')} bits${widths.length > 1 ? ' by layer' : ''}`
}

/** A plan as a map on the terminal. */
export function mapOf(
  input: Pick<OracleInput, 'pair'>,
  plan: Plan,
  title: string,
  style: { readonly colour: boolean },
): string {
  return renderTextMaps([pictureOf(input, plan, title)], {
    colour: style.colour,
    columns: 120,
    collapse: true,
  })
}

/** A plan as the pictures of reports take it. */
export function pictureOf(input: Pick<OracleInput, 'pair'>, plan: Plan, title: string): PicturedPlan {
  return { title, heads: input.pair.model.heads, ...planToJson(input.pair, plan) }
}
