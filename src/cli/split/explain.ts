import type { GenerationRequest, RequestOutput } from '../../run/executor/types.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { formatBytes, formatNumber, formatSeconds } from '../../report/numbers.ts'
import { paint, renderTable, type TableStyle } from '../../report/table.ts'
import { renderTimeline, timelineLegend, type TimelineLane } from '../../report/timeline.ts'
import { activitiesOf, type Activity, type Track } from './activities.ts'

const COLUMNS = 110

const LANES: readonly (readonly [Track, TimelineLane['colour']])[] = [
  ['edge', 'cyan'],
  ['up', 'green'],
  ['cloud', 'yellow'],
  ['down', 'magenta'],
]

/** One pass: from the token before it (the dispatch) to its own token. */
interface Pass {
  readonly fromSeconds: number
  readonly toSeconds: number
  readonly activities: readonly Activity[]
}

/**
 * Who computed what and what travelled when: prefill and first decode pass as tables with a picture of their lanes,
 * then what all passes took. No trailing newline.
 */
export function explainRequest(
  model: ModelSpec,
  request: GenerationRequest,
  result: RequestOutput,
  style: TableStyle,
): string {
  const activities = activitiesOf(model, request, result.events)
  const passes = passesOf(result, activities)
  const [prefill, decode] = passes
  return [
    ...onePass(`Prefill: ${request.prompt.length} tokens`, prefill, style),
    ...(decode === undefined ? [] : onePass('First decode pass', decode, style)),
    paint('All passes', 'bold', style),
    totals(passes, activities, style),
    '',
    timelineLegend(),
    'Each column is the sum over what it names; waiting is the time in which nobody computed or loaded and nothing was on its way.',
  ].join('\n')
}

function passesOf({ tokens, dispatchSeconds }: RequestOutput, activities: readonly Activity[]): Pass[] {
  return tokens.map(({ atSeconds }, pass) => ({
    fromSeconds: pass === 0 ? dispatchSeconds : tokens[pass - 1].atSeconds,
    toSeconds: atSeconds,
    activities: activities.filter((activity) => activity.pass === pass),
  }))
}

function onePass(title: string, pass: Pass, style: TableStyle): string[] {
  const { fromSeconds, toSeconds, activities } = pass
  const lanes = LANES.map(([name, colour]): TimelineLane => ({
    name,
    colour,
    spans: activities.filter(({ lane }) => lane === name),
  }))
  // A cloud that samples goes on while its token is on its way down: a pass may begin before the token before it is here.
  const begin = Math.min(fromSeconds, ...activities.map((activity) => activity.fromSeconds))
  const end = Math.max(toSeconds, ...activities.map((activity) => activity.toSeconds))
  return [
    paint(`${title}, ${formatSeconds(toSeconds - fromSeconds)}`, 'bold', style),
    renderTimeline(lanes, [begin, end], { colour: style.colour, columns: COLUMNS }),
    '',
    renderTable({ columns: PASS_COLUMNS, rows: activities.map((activity) => row(activity, begin)) }, style),
    '',
  ]
}

const right = (title: string) => ({ title, align: 'right' }) as const

const PASS_COLUMNS = [
  { title: 'where' },
  { title: 'what' },
  ...['tokens', 'bits', 'bytes', 'from ms', 'to ms', 'took'].map(right),
]

function row(activity: Activity, originSeconds: number): string[] {
  const { lane, kind, label, tokens, bits, bytes, batch, fromSeconds, toSeconds } = activity
  const milliseconds = (at: number): string => (1e3 * (at - originSeconds)).toFixed(3)
  return [
    lane,
    `${kind === 'load' ? 'load: ' : ''}${label}${batch > 1 ? `, with ${batch - 1} other requests` : ''}`,
    kind === 'load' ? '' : String(tokens),
    bits === null ? '' : String(bits),
    kind === 'transfer' ? formatNumber(bytes) : '',
    milliseconds(fromSeconds),
    milliseconds(toSeconds),
    formatSeconds(toSeconds - fromSeconds),
  ]
}

/** What a stretch of the request took; seconds but for the bytes. */
interface Sums {
  readonly whole: number
  readonly load: number
  readonly edge: number
  readonly cloud: number
  readonly up: number
  readonly down: number
  readonly waiting: number
  readonly upBytes: number
  readonly downBytes: number
}

const TOTAL_COLUMNS = [
  { title: '' },
  ...[
    'whole',
    'loading',
    'edge compute',
    'cloud compute',
    'up',
    'down',
    'waiting',
    'bytes up',
    'bytes down',
  ].map(right),
]

function totals(passes: readonly Pass[], all: readonly Activity[], style: TableStyle): string {
  const sums = passes.map((pass) => sumsOf(pass, all))
  const rest = sums.slice(2)
  const rows = [
    sumsRow('prefill', sums[0]),
    ...(sums.length > 1 ? [sumsRow('first decode', sums[1])] : []),
    ...(rest.length > 0 ? [sumsRow(`others, mean of ${rest.length}`, combine(rest, 1 / rest.length))] : []),
    sumsRow('total', combine(sums, 1)),
  ]
  return renderTable({ columns: TOTAL_COLUMNS, rows, emphasis: [rows.length - 1] }, style)
}

function sumsOf({ fromSeconds, toSeconds, activities }: Pass, all: readonly Activity[]): Sums {
  const sum = (lane: Track | null, kind: Activity['kind'], value: (activity: Activity) => number): number =>
    activities
      .filter((activity) => (lane === null || activity.lane === lane) && activity.kind === kind)
      .reduce((total, activity) => total + value(activity), 0)
  const took = (activity: Activity): number => activity.toSeconds - activity.fromSeconds
  return {
    whole: toSeconds - fromSeconds,
    load: sum(null, 'load', took),
    edge: sum('edge', 'work', took),
    cloud: sum('cloud', 'work', took),
    up: sum('up', 'transfer', took),
    down: sum('down', 'transfer', took),
    waiting: idleSeconds(all, fromSeconds, toSeconds),
    upBytes: sum('up', 'transfer', ({ bytes }) => bytes),
    downBytes: sum('down', 'transfer', ({ bytes }) => bytes),
  }
}

/** The part of a stretch that no activity covers; they are in order of their beginning. */
function idleSeconds(activities: readonly Activity[], fromSeconds: number, toSeconds: number): number {
  let idle = 0
  let busyUntil = fromSeconds
  for (const activity of activities) {
    idle += Math.max(0, Math.min(toSeconds, activity.fromSeconds) - busyUntil)
    busyUntil = Math.max(busyUntil, activity.toSeconds)
  }
  return idle + Math.max(0, toSeconds - busyUntil)
}

function combine(all: readonly Sums[], factor: number): Sums {
  const total = (field: keyof Sums): number => factor * all.reduce((sum, one) => sum + one[field], 0)
  return {
    whole: total('whole'),
    load: total('load'),
    edge: total('edge'),
    cloud: total('cloud'),
    up: total('up'),
    down: total('down'),
    waiting: total('waiting'),
    upBytes: total('upBytes'),
    downBytes: total('downBytes'),
  }
}

function sumsRow(name: string, sums: Sums): string[] {
  const { whole, load, edge, cloud, up, down, waiting, upBytes, downBytes } = sums
  const times = [whole, load, edge, cloud, up, down, waiting].map((seconds) => formatSeconds(seconds))
  return [name, ...times, formatBytes(upBytes), formatBytes(downBytes)]
}
