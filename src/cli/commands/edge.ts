import type { Command } from 'commander'
import { setMaxListeners } from 'node:events'
import { DEFAULT_ADDRESS, parseAddress } from '../../core/address.ts'
import { InputError } from '../../core/errors.ts'
import { formatBitsPerSecond, formatNumber, formatSeconds } from '../../report/numbers.ts'
import { readProfile } from '../../plan/profile/file.ts'
import type { ResolvedPlan } from '../../run/executor/messages.ts'
import type { GenerationRequest } from '../../run/executor/types.ts'
import type { BundleDecision } from '../../serve/edge/decideByBundle.ts'
import { DirectEdge, type DirectEdgeOptions } from '../../serve/edge/direct.ts'
import type { DeciderOptions } from '../../serve/edge/planSelector.ts'
import { SHORTHANDS } from '../../serve/edge/planWords.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { figuresJson } from '../json/request.ts'
import { integerOption, integersOption, numberOption } from '../options.ts'
import { EXIT_INTERRUPTED } from '../program.ts'
import { addServeOptions, type ServeFlags } from '../serve/options.ts'
import { addTransportOptions, readTransportOptions, type TransportFlags } from '../serve/transportOptions.ts'
import { printerOf } from '../split/print.ts'
import { readPrompts, type PromptOptions } from '../split/prompts.ts'
import { addSideOptions, sideOptions, type SideFlags } from '../split/side.ts'
import { addTrust, readTrust } from '../trust.ts'
import { describePlan, figuresText } from './oracleTable.ts'

/** Flags of `edgewise edge`: what runs, where the cloud is, what decides, and how it serves. */
export interface EdgeFlags extends SideFlags, PromptOptions, ServeFlags, TransportFlags {
  readonly cloud?: string
  readonly plan?: string
  readonly bundle?: string
  readonly edgeProfile?: string
  readonly cloudProfile?: string
  readonly accuracy?: string
  readonly maxNewTokens: number
  readonly temperature: number
  readonly topK: number
  readonly topP: number
  readonly seed: number
  readonly count: number
  readonly maxInFlight: number
  readonly explain?: boolean
  readonly json?: boolean
}

/** To say goodbye and close, after the requests under way. */
const CLOSING_SECONDS = 5

export const edge: CliCommand<EdgeFlags> = {
  name: 'edge',
  summary: 'generate text with a model that is split between this device and a cloud, or serve it',
  configure(command) {
    addSideOptions(command)
    command
      .optionsGroup('Where things run:')
      .option('--cloud <host:port>', `where \`edgewise cloud\` listens, e.g. ${DEFAULT_ADDRESS}`)
      .option(
        '--plan <plan>',
        'what runs where: a JSON file (`edgewise oracle --json`), or a word, see below',
      )
      .option('--bundle <folder>', 'or a policy that decides for the link as it is measured now')
      .option(
        '--edge-profile <file>',
        "figures of this device instead of the bundle's, as at another --precision",
      )
      .option('--cloud-profile <file>', "figures of the cloud instead of the bundle's")
      .option('--accuracy <file>', 'accuracy table whose ranking says which heads go to the cloud first')
    addTrust(command)
    command.optionsGroup('The way to the cloud:')
    addTransportOptions(command)
    command.optionsGroup('Generating text:')
    addPromptOptions(command)
    command.option('--explain', 'say who computed what and what travelled when (one request)')
    command.optionsGroup('Serving an API:')
    addServeOptions(command)
    command.optionsGroup('Output:')
    addJson(command)
    const width = Math.max(...SHORTHANDS.map(([word]) => word.length))
    const words = SHORTHANDS.map(([word, meaning]) => `  ${word.padEnd(width)}  ${meaning}`)
    command.addHelpText('after', `\nPlans in a word:\n${words.join('\n')}`)
    addExamples(command, [
      [
        'Three layers here, the others in the cloud',
        'edge --model tales --cloud 127.0.0.1:7400 --plan cut:3 --prompt "Once"',
      ],
      ['Without a cloud', 'edge --model tales --plan edge --prompt "Once"'],
      [
        'Who did what and when',
        'edge --model tales --cloud 127.0.0.1:7400 --plan split:0.5@8 --prompt "Once" --explain',
      ],
      [
        'An OpenAI-compatible API, decided by a policy',
        'edge --model tales --cloud 127.0.0.1:7400 --bundle exports/mine --listen 127.0.0.1:8080 --watch',
      ],
      [
        'Eight requests, four at a time, sampled',
        'edge --model tales --cloud 127.0.0.1:7400 --plan cloud --prompt "Once" --count 8 --temperature 0.8',
      ],
    ])
  },
  run(options, io) {
    const running = options.listen === undefined ? generate(options, io) : serve(options, io)
    // The process waits until the cloud has heard of the end.
    io.onExit(
      async () => {
        await running.catch(() => undefined)
      },
      options.listen === undefined ? undefined : options.drainSeconds + CLOSING_SECONDS,
    )
    return running
  },
}

function addPromptOptions(command: Command): void {
  command
    .option('--prompt <text>', 'what to go on from (without any prompt option: standard input)')
    .option('--prompt-file <file>', 'a file with the prompt')
    .option('--prompts <file>', 'a file with one prompt a line, each a request')
    .option('--ids <list>', 'the prompt as token ids', integersOption({ min: 0 }))
    .option('--max-new-tokens <n>', 'tokens of an answer at most', integerOption({ min: 1 }), 64)
    .option('--temperature <t>', '0 takes the likeliest token', numberOption({ min: 0, max: 100 }), 0)
    .option('--top-k <k>', 'draw among the k likeliest tokens; 0: all', integerOption({ min: 0 }), 0)
    .option(
      '--top-p <p>',
      'draw among the fewest tokens of this probability; 1: all',
      numberOption({ min: 0, max: 1, exclusiveMin: true }),
      1,
    )
    .option('--seed <n>', 'of the draws; the n-th request adds n - 1', integerOption({ min: 0 }), 0)
    .option('--count <n>', 'each prompt so many times', integerOption({ min: 1, max: 1000 }), 1)
    .option('--max-in-flight <n>', 'requests carried out at once', integerOption({ min: 1, max: 64 }), 4)
}

/** The API's packages are loaded only where it is served. */
async function serve(options: EdgeFlags, io: Io): Promise<number> {
  checkServing(options)
  const { serveEdge } = await import('../serve/serveEdge.ts')
  return serveEdge(options, io)
}

function checkServing(options: EdgeFlags): void {
  checkProfiles(options)
  const { plan, bundle, prompt, promptFile, prompts, ids, explain } = options
  const refuse = (found: string, expected: string): never => {
    throw new InputError({ where: '--listen', expected, found })
  }
  if (plan !== undefined && bundle !== undefined) refuse('both', '--plan or --bundle')
  const given = Object.entries({ prompt, promptFile, prompts, ids, explain }).find(
    ([, value]) => value !== undefined,
  )
  if (given !== undefined)
    refuse(`--${given[0].replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`, 'no prompt: applications ask')
}

async function generate(flags: EdgeFlags, io: Io): Promise<number> {
  checkOptions(flags)
  const { signal } = io
  const { maxInFlight, maxNewTokens, count } = flags
  // Every request listens, and there may be thousands.
  setMaxListeners(0, signal)
  const edge = await DirectEdge.open({
    ...sideOptions(flags, io),
    ...reachOptions(flags, io),
    ...deciderOptions(flags),
    maxInFlight,
    signal,
  })
  try {
    const prompts = await readPrompts(flags, edge.pretrained, io)
    const promptTokens = Math.max(...prompts.map(({ length }) => length))
    const expected = { promptTokens, maxNewTokens, requests: prompts.length * count }
    const { plan, decision } = await edge.prepare(expected)
    if (decision !== null) io.stderr.write(`${decisionText(decision, promptTokens)}\n`)
    return await carryOut(flags, edge, requestsOf(flags, edge, plan, prompts), decision, io)
  } finally {
    await edge.close()
  }
}

async function carryOut(
  flags: EdgeFlags,
  edge: DirectEdge,
  requests: readonly GenerationRequest[],
  decision: BundleDecision | null,
  io: Io,
): Promise<number> {
  const explain = flags.explain === true
  const figures = decision === null ? null : figuresJson(decision.problem.pair)
  const output = { explain, json: flags.json === true, precision: edge.precision, figures }
  const printer = printerOf(edge.pretrained, requests.length, output, io)
  const settled = await Promise.allSettled(
    requests.map(async (request, index) => {
      const generation = await edge.generate(request, { explain, onToken: printer.onToken(index) })
      printer.onDone(index, generation)
      return generation
    }),
  )
  const generations = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  const failure = settled.find((one) => one.status === 'rejected')
  printer.end(generations, edge.bytes, failure !== undefined)
  if (failure !== undefined) throw failure.reason
  return io.signal.aborted ? EXIT_INTERRUPTED : 0
}

/** What the flags say of the way to the cloud. Throws InputError for an address or a file that cannot be read. */
export function reachOptions(flags: EdgeFlags, io: Io): Pick<DirectEdgeOptions, 'cloud' | 'transport'> {
  const { cloud } = flags
  const transport = readTransportOptions(flags, io)
  return { cloud: cloud === undefined ? undefined : parseAddress('--cloud', cloud), transport }
}

/** What the flags say of who decides. Throws InputError for a key or a profile that cannot be read. */
export function deciderOptions(flags: EdgeFlags): DeciderOptions {
  const { plan, bundle, trust, accuracy, edgeProfile, cloudProfile } = flags
  return {
    plan,
    bundle,
    trust: readTrust(trust).trust,
    accuracyFile: accuracy,
    profiles: {
      edge: edgeProfile === undefined ? undefined : readProfile(edgeProfile),
      cloud: cloudProfile === undefined ? undefined : readProfile(cloudProfile),
    },
  }
}

/** What a bundle decided and why, for a person. */
function decisionText(decision: BundleDecision, promptTokens: number): string {
  const { bundleName, problem, plan, decideSeconds, link, maxNewTokens } = decision
  const seen =
    link === null
      ? 'no cloud'
      : `RTT ${formatSeconds(link.rttSeconds)}, ${formatBitsPerSecond(link.upBitsPerSecond)} up, ` +
        `${formatBitsPerSecond(link.downBitsPerSecond)} down`
  return (
    `${bundleName} decides: ${describePlan(problem, plan)}, in ${formatSeconds(decideSeconds)}, ` +
    `because of ${seen}; prompt ${formatNumber(promptTokens)}, answer up to ${formatNumber(maxNewTokens)} tokens; ` +
    figuresText(problem.pair)
  )
}

/** Throws InputError for profiles without the bundle whose figures they would replace. */
function checkProfiles({ bundle, edgeProfile, cloudProfile }: EdgeFlags): void {
  if (bundle !== undefined || (edgeProfile === undefined && cloudProfile === undefined)) return
  throw new InputError({
    where: edgeProfile === undefined ? '--cloud-profile' : '--edge-profile',
    expected: 'a --bundle, which decides on its figures',
    found: 'none',
  })
}

function checkOptions(options: EdgeFlags): void {
  const { plan, bundle, explain, count, prompts } = options
  checkProfiles(options)
  if ((plan === undefined) === (bundle === undefined)) {
    throw new InputError({
      where: '--plan and --bundle',
      expected: 'one of the two',
      found: plan === undefined ? 'neither' : 'both',
      remedy: 'e.g. --plan cut:3, see --help',
    })
  }
  if (explain === true && (count > 1 || prompts !== undefined)) {
    throw new InputError({
      where: '--explain',
      expected: 'one request',
      found: count > 1 ? `--count ${count}` : '--prompts',
    })
  }
}

function requestsOf(
  { maxNewTokens, temperature, topK, topP, seed, count }: EdgeFlags,
  { pretrained: { stopIds } }: DirectEdge,
  resolved: ResolvedPlan,
  prompts: readonly (readonly number[])[],
): GenerationRequest[] {
  const all = prompts.flatMap((prompt) => Array.from({ length: count }, () => prompt))
  return all.map((prompt, index) => ({
    ...resolved,
    prompt,
    maxNewTokens,
    stopIds,
    sampling: { temperature, topK, topP, seed: seed + index },
  }))
}
