import type { Command } from 'commander'
import { setMaxListeners } from 'node:events'
import { InputError } from '../../core/errors.ts'
import type { ResolvedPlan } from '../../run/executor/messages.ts'
import { EdgeExecutor } from '../../run/executor/edge.ts'
import { fixedLink } from '../../run/executor/link.ts'
import { needsCloud } from '../../plan/plan.ts'
import type { GenerationRequest } from '../../run/executor/types.ts'
import type { WeightSource } from '../../model/graphs/source.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { integerOption, integersOption, numberOption } from '../options.ts'
import { EXIT_INTERRUPTED } from '../program.ts'
import {
  addTransportOptions,
  readTransportOptions,
  type TransportOptions,
} from '../serve/transportOptions.ts'
import { addServeOptions, type ServeOptions } from '../serve/options.ts'
import { accuracyOf } from '../split/accuracy.ts'
import { DEFAULT_ADDRESS, parseAddress } from '../split/address.ts'
import { decideByBundle } from '../split/decide.ts'
import { generateOne } from '../split/generate.ts'
import { connectToCloud } from '../split/link.ts'
import { MeteredConnection } from '../split/meter.ts'
import { readPlan, SHORTHANDS } from '../split/plan.ts'
import { readTrust, addTrust } from '../trust.ts'
import { readPrompts, type PromptOptions } from '../split/prompts.ts'
import { printerOf } from '../split/print.ts'
import { addSideOptions, openSide, type OpenedSide, type SideOptions } from '../split/side.ts'

export interface EdgeOptions extends SideOptions, PromptOptions, ServeOptions, TransportOptions {
  readonly cloud?: string
  readonly plan?: string
  readonly bundle?: string
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

export const edge: CliCommand<EdgeOptions> = {
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
async function serve(options: EdgeOptions, io: Io): Promise<number> {
  checkServing(options)
  const { serveEdge } = await import('../serve/serveEdge.ts')
  return serveEdge(options, io)
}

function checkServing(options: EdgeOptions): void {
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

async function generate(options: EdgeOptions, io: Io): Promise<number> {
  checkOptions(options)
  const side = await openSide(options, io)
  try {
    const { source } = side.pretrained
    const prompts = await readPrompts(options, side.pretrained, io)
    const given =
      options.plan === undefined
        ? null
        : readPlan(options.plan, source, accuracyOf(options, side.pretrained).ranking)
    if (given !== null) requireCloud(given, options.cloud)
    const connection = await connectionOf(options, side, io)
    try {
      const placed = given ?? (await decide(options, source, connection, prompts, io))
      requireCloud(placed, options.cloud)
      return await carryOut(options, side, connection, requestsOf(options, side, placed, prompts), io)
    } finally {
      await connection?.close()
    }
  } finally {
    await side.close()
  }
}

async function carryOut(
  options: EdgeOptions,
  side: OpenedSide,
  connection: MeteredConnection | null,
  requests: readonly GenerationRequest[],
  io: Io,
): Promise<number> {
  const { pretrained, execution } = side
  const { clock, signal } = io
  const explain = options.explain === true
  // Every request listens, and there may be thousands.
  setMaxListeners(0, signal)
  const link = connection === null ? null : fixedLink(connection)
  const executor = new EdgeExecutor({
    ...{ model: pretrained.source.model, runner: execution.runner, clock, link },
    maxInFlight: options.maxInFlight,
  })
  const printer = printerOf(pretrained, requests.length, { explain, json: options.json === true }, io)
  const settled = await Promise.allSettled(
    requests.map(async (request, index) => {
      const onToken = printer.onToken(index)
      const generation = await generateOne(executor, request, { signal, explain, onToken })
      printer.onDone(index, generation)
      return generation
    }),
  )
  const generations = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  const failure = settled.find((one) => one.status === 'rejected')
  printer.end(generations, connection?.bytes ?? null, failure !== undefined)
  if (failure !== undefined) throw failure.reason
  return signal.aborted ? EXIT_INTERRUPTED : 0
}

function checkOptions({ plan, bundle, explain, count, prompts }: EdgeOptions): void {
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

async function connectionOf(
  options: EdgeOptions,
  { greeting }: OpenedSide,
  io: Io,
): Promise<MeteredConnection | null> {
  const { cloud, model } = options
  if (cloud === undefined) return null
  const address = parseAddress('--cloud', cloud)
  return new MeteredConnection(
    await connectToCloud(address, greeting, model, io, readTransportOptions(options, io)),
  )
}

function decide(
  { bundle, maxNewTokens, count, trust }: EdgeOptions,
  source: WeightSource,
  connection: MeteredConnection | null,
  prompts: readonly (readonly number[])[],
  io: Io,
): Promise<ResolvedPlan> {
  const promptTokens = Math.max(...prompts.map(({ length }) => length))
  const demand = { promptTokens, maxNewTokens, requests: prompts.length * count }
  return decideByBundle(bundle!, readTrust(trust), source, connection, demand, io)
}

function requireCloud({ plan }: ResolvedPlan, cloud: string | undefined): void {
  if (!needsCloud(plan) || cloud !== undefined) return
  throw new InputError({
    where: '--cloud',
    expected: 'an address: this plan needs a cloud',
    found: 'nothing',
    remedy: `say --cloud ${DEFAULT_ADDRESS}, or --plan edge`,
  })
}

function requestsOf(
  { maxNewTokens, temperature, topK, topP, seed, count }: EdgeOptions,
  { pretrained: { stopIds } }: OpenedSide,
  placed: ResolvedPlan,
  prompts: readonly (readonly number[])[],
): GenerationRequest[] {
  const all = prompts.flatMap((prompt) => Array.from({ length: count }, () => prompt))
  return all.map((prompt, index) => ({
    ...{ ...placed, prompt, maxNewTokens, stopIds },
    sampling: { temperature, topK, topP, seed: seed + index },
  }))
}
