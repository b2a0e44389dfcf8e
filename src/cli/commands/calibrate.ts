import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { delimiter, join } from 'node:path'
import { InputError } from '../../base/errors.ts'
import { writeAtomic } from '../../base/files.ts'
import { randomStream } from '../../base/random.ts'
import { calibrate, PREDICTIONS_FILE, RESULT_FILE, type Calibrated } from '../../calibrate/calibrate.ts'
import { openRelays } from '../../calibrate/carriage.ts'
import { remoteCloud, remoteEdge, startChild, type Child } from '../../calibrate/remote.ts'
import { calibrationOf } from '../../calibrate/result.ts'
import type { LinkCase } from '../../calibrate/types.ts'
import { talesText } from '../../pretrain/text.ts'
import { openPretrained } from '../../pretrained/open.ts'
import type { PretrainedModel } from '../../pretrained/types.ts'
import { accuracyTable, readAccuracyTable } from '../../profile/accuracy.ts'
import { readProfile, writeProfile } from '../../profile/file.ts'
import { accuracyFileIn } from '../../profile/shipped.ts'
import { constantSeries } from '../../trace/link.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printJson, printLine } from '../io.ts'
import { freshFolder, RUNS_FOLDER } from '../json/runs.ts'
import { integerOption, numberOption } from '../options.ts'
import { startProgress } from '../progress.ts'
import { packageRoot } from '../root.ts'
import { errorTable, sideBySide, tableText, verdict } from './calibrate-table.ts'
import { openLinkSource } from './link/source.ts'

interface Options {
  readonly model: string
  readonly profile?: string
  readonly accuracy?: string
  readonly trace?: string
  readonly down?: string
  readonly downMbps?: number
  readonly rttMs?: number
  readonly start: number
  readonly out?: string
  readonly quick?: boolean
  readonly repeats: number
  readonly seed: number
  readonly cache?: string
  readonly strict?: boolean
  readonly markdown?: boolean
  readonly json?: boolean
}

const SHIPPED_TRACE = join('traces', 'links', 'lte-driving.yaml')
const TRACE_SECONDS = 3600
const PROFILE_FILE = 'profile.json'
const PROMPT_TALES = 64
const positive = numberOption({ min: 0, exclusiveMin: true })

export const calibrateCommand: CliCommand<Options> = {
  name: 'calibrate',
  summary: 'predict with the simulator, measure the real runtime, and say how wrong it was',
  configure(command) {
    command
      .requiredOption('--model <id|path>', 'tales (built in), a Hugging Face directory, or a llama2.c .bin')
      .option(
        '--profile <file>',
        'profile to hold to the runtime; it is given the result (default: measured now)',
      )
      .option(
        '--accuracy <file>',
        'accuracy table: its ranking, and its measured exit shares (default: the one beside the model)',
      )
      .option('--trace <file>', 'a recording or a synthetic link (default: the shipped LTE drive)')
      .option('--down <file>', 'recording of the downlink, where the trace has none')
      .option('--down-mbps <n>', 'or a constant downlink', positive)
      .option(
        '--rtt-ms <n>',
        'a constant round-trip time, where the trace has none',
        numberOption({ min: 0 }),
      )
      .option('--start <seconds>', 'where in the trace requests begin', numberOption({ min: 0 }), 1)
      .option('--out <folder>', 'folder of the outcome (default: runs/calibrate-<n>)')
      .option('--quick', 'four plans, two links, short requests: about a minute')
      .option('--repeats <n>', 'runs of each cell', integerOption({ min: 4, max: 100 }), 4)
      .option('--seed <n>', 'of arrivals, prompts and the order of runs', integerOption({ min: 0 }), 1)
      .option('--cache <folder>', "where the graphs are kept (default: the user's cache folder)")
      .option('--strict', 'exit code 1 where a term missed its target')
      .option('--markdown', 'print tables as Markdown')
    addJson(command)
    addExamples(command, [
      ['The built-in model on this machine', 'calibrate --model tales'],
      ['A first look within a minute', 'calibrate --model tales --quick'],
      [
        'Over a recorded LTE drive, keeping the result with a profile',
        'calibrate --model tales --profile this-machine.profile.json --trace drive.up --down drive.down --rtt-ms 60',
      ],
    ])
  },
  async run(options, io) {
    const folder = outFolder(options)
    const done = await carryOut(options, folder, io)
    const profileFile = keepProfile(options, folder, done)
    if (options.json === true) printJson(io, done.result)
    else describe(done, profileFile, options.markdown === true, folder, io)
    return options.strict === true && !done.result.met ? 1 : 0
  },
}

function outFolder({ out }: Options): string {
  const folder = out ?? freshFolder(RUNS_FOLDER, 'calibrate')
  if (existsSync(folder) && readdirSync(folder).length > 0) {
    const found = 'a folder with files in it'
    throw new InputError({
      where: folder,
      expected: 'a new or empty folder',
      found,
      remedy: 'choose another --out',
    })
  }
  mkdirSync(folder, { recursive: true })
  return folder
}

async function carryOut(options: Options, folder: string, io: Io): Promise<Calibrated> {
  const { model: name, quick = false, repeats, seed } = options
  const pretrained = openPretrained(name, { builtinFolder: join(packageRoot(), 'models') })
  const { source } = pretrained
  const profile = options.profile === undefined ? null : readProfile(options.profile)
  if (profile !== null && profile.model.id !== source.model.id) {
    const [expected, found] = [`a profile of ${source.model.id}`, `one of ${profile.model.id}`]
    throw new InputError({ where: options.profile!, expected, found })
  }
  const table = options.accuracy ?? accuracyFileIn(pretrained.path, source.model.id)
  const accuracy = table === null ? accuracyTable(source.model) : readAccuracyTable(table, source.model)
  const links = await linksOf(options)
  const pinned = canPin(io)
  // Children are gone before the command returns, however it ends.
  const children: Child[] = []
  const endAll = async (): Promise<void> => {
    await Promise.all(children.map((child) => child.end()))
  }
  io.onExit(endAll)
  const start = (side: 'edge' | 'cloud', core: number): Child => {
    const child = startChild(commandOf(options, side, pinned ? core : null), side)
    children.push(child)
    return child
  }
  const progress = startProgress(io, 'calibrate', 1000)
  try {
    const cloudChild = start('cloud', 1)
    const edgeChild = start('edge', 0)
    await Promise.all([cloudChild.caller.ready, edgeChild.caller.ready])
    const [edge, cloud] = [remoteEdge(edgeChild.caller), remoteCloud(cloudChild.caller)]
    const carriage = await openRelays(links, await cloud.address(), io.clock)
    io.onExit(() => carriage.close())
    progress.update(0, 'profile')
    try {
      return await calibrate({
        ...{ model: source.model, accuracy, exitLayers: source.exitLayers, links, edge, cloud, carriage },
        ...{ tcpDynamics: false, profile, quick, repeats, seed, pinned, clock: io.clock, signal: io.signal },
        prompt: promptsOf(pretrained, seed),
        write: (file, text) => writeAtomic(join(folder, file), text),
        onPredicted: (hash, file) =>
          io.stderr.write(
            `predictions: ${join(folder, file)}, sha256 ${hash}, before anything is measured\n`,
          ),
        onProgress: (count, total, note) => progress.update(Math.floor((1000 * count) / total), note),
      })
    } finally {
      await carriage.close()
    }
  } finally {
    progress.stop()
    await endAll()
  }
}

async function linksOf(options: Options): Promise<LinkCase[]> {
  const { trace, seed, start, down, downMbps, rttMs } = options
  const phase = { phaseSeconds: 1 }
  const wifi = { id: '20/50 Mbit/s, 20 ms', series: constantSeries(20e6, 50e6, 0.02), ...phase }
  const slow = { id: '2/5 Mbit/s, 60 ms', series: constantSeries(2e6, 5e6, 0.06), ...phase }
  const recorded = await openLinkSource(trace ?? join(packageRoot(), SHIPPED_TRACE), {
    ...{ seed, modelSeconds: TRACE_SECONDS },
    ...(down === undefined ? {} : { down }),
    ...(downMbps === undefined ? {} : { downMbps }),
    ...(rttMs === undefined ? {} : { rttMs }),
  })
  const last = { id: trace === undefined ? 'LTE, synthetic' : 'trace', series: recorded, phaseSeconds: start }
  return options.quick === true ? [wifi, last] : [wifi, slow, last]
}

function canPin(io: Io): boolean {
  const folders = (io.env.PATH ?? '').split(delimiter)
  return (
    process.platform === 'linux' &&
    availableParallelism() >= 2 &&
    folders.some((folder) => existsSync(join(folder, 'taskset')))
  )
}

/** This very program again, as one side. */
function commandOf({ model, cache }: Options, side: 'edge' | 'cloud', core: number | null): string[] {
  const pin = core === null ? [] : ['taskset', '-c', String(core)]
  const self = [process.execPath, ...process.execArgv, process.argv[1], 'calibrate-edge']
  return [
    ...[...pin, ...self, '--side', side, '--model', model],
    ...(cache === undefined ? [] : ['--cache', cache]),
  ]
}

/** Real text where the model reads it; ids at random for the others. */
function promptsOf(
  { source, tokenizer }: PretrainedModel,
  seed: number,
): (tokens: number, index: number) => readonly number[] {
  const { vocabulary, id } = source.model
  if (tokenizer === null || id !== 'tales') {
    return (tokens, index) => {
      const random = randomStream(seed, `calibrate prompt ${index}`)
      return Array.from({ length: tokens }, () => random.integer(vocabulary))
    }
  }
  const ids = talesText(seed, PROMPT_TALES).flatMap(({ text }) => tokenizer.encode(text))
  return (tokens, index) => {
    const from = randomStream(seed, `calibrate prompt ${index}`).integer(Math.max(1, ids.length - tokens))
    return ids.slice(from, from + tokens)
  }
}

/** The summary goes into the profile that was held to the runtime. Returns where that lies. */
function keepProfile({ profile: given }: Options, folder: string, { profile, result }: Calibrated): string {
  const file = given ?? join(folder, PROFILE_FILE)
  writeProfile(file, { ...profile, calibration: calibrationOf(result, join(folder, RESULT_FILE)) })
  return file
}

function describe({ result }: Calibrated, profile: string, markdown: boolean, folder: string, io: Io): void {
  const { title, table } = sideBySide(result)
  const beside = (data: typeof table): string => tableText(data, io, markdown)
  printLine(io, `${title}\n\n${beside(table)}\n`)
  printLine(
    io,
    `Errors of the simulator (predicted - measured) / measured\n\n${beside(errorTable(result))}\n`,
  )
  printLine(io, verdict(result))
  for (const { plan, reason } of result.leftOut) printLine(io, `left out: ${plan}: ${reason}`)
  printLine(io, `\n${result.cells.length} cells, ${result.repeats} runs each; every byte as predicted.`)
  printLine(io, `predictions ${join(folder, PREDICTIONS_FILE)}, sha256 ${result.predictionsSha256}`)
  printLine(io, `result      ${join(folder, RESULT_FILE)}`)
  printLine(io, `profile     ${profile}`)
}
