import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { InputError } from '../../core/errors.ts'
import { writeAtomic } from '../../core/files.ts'
import { randomStream } from '../../core/random.ts'
import { calibrate, PREDICTIONS_FILE, RESULT_FILE } from '../../lab/calibrate/calibrate.ts'
import { openRelays, overWan, type LinkEmulation } from '../../lab/calibrate/linkEmulation.ts'
import { profileSides } from '../../lab/calibrate/messages.ts'
import { calibrationOf, type CalibrationResult } from '../../lab/calibrate/result.ts'
import type { LinkCase } from '../../lab/calibrate/types.ts'
import { talesText } from '../../lab/pretrain/text.ts'
import { parseRuntimePrecision, RUNTIME_PRECISIONS, type RuntimePrecision } from '../../model/precision.ts'
import { openPretrained } from '../../model/weights/open.ts'
import type { PretrainedModel } from '../../model/weights/pretrained.ts'
import { readProfile, writeProfile } from '../../plan/profile/file.ts'
import { profileLabel } from '../../plan/profile/precision.ts'
import type { Profile } from '../../plan/profile/types.ts'
import { withWan, type WanOptions } from '../../trace/replay/namespaces.ts'
import { constantSeries } from '../../trace/link.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printJson, printLine } from '../io.ts'
import { freshFolder, RUNS_FOLDER } from '../json/runs.ts'
import { integerOption, numberOption, requireChoice } from '../options.ts'
import { startProgress, type Progress } from '../progress.ts'
import { packageRoot } from '../../core/packageRoot.ts'
import { canPin, withSides, type Sides } from './calibrateSides.ts'
import { errorTable, sideBySide, tableText, verdict } from './calibrateTable.ts'
import { accuracyTableOf } from '../../plan/profile/accuracyFile.ts'
import { openLinkSource, type LinkOptions } from './link/source.ts'

interface Options extends Omit<LinkOptions, 'binSeconds' | 'modelSeconds'> {
  readonly model: string
  readonly profile?: string
  readonly precision?: string
  readonly accuracy?: string
  readonly trace?: string
  readonly carriage: string
  readonly wanSource?: string
  readonly start: number
  readonly out?: string
  readonly quick?: boolean
  readonly repeats: number
  readonly cache?: string
  readonly strict?: boolean
  readonly markdown?: boolean
  readonly json?: boolean
}

const SHIPPED_TRACE = join('traces', 'links', 'lte-driving.yaml')
const TRACE_SECONDS = 3600
const PROFILE_FILE = 'profile.json'
const PROMPT_TALES = 64
/** Bytes that may wait in an emulated WAN before packets are dropped. */
const WAN_QUEUE_BYTES = 1e6
const positive = numberOption({ min: 0, exclusiveMin: true })

export const calibrateCommand: CliCommand<Options> = {
  name: 'calibrate',
  summary: 'predict with the simulator, measure the real runtime, and report how far they differ',
  configure(command) {
    command
      .requiredOption('--model <id|path>', 'tales (built in), a Hugging Face directory, or a llama2.c .bin')
      .option(
        '--profile <file>',
        'profile to hold to the runtime; it is given the result (default: measured now)',
      )
      .option(
        '--precision <name>',
        `weights of both sides: ${RUNTIME_PRECISIONS.join(', ')} (default: the profile's, or fp32)`,
      )
      .option(
        '--accuracy <file>',
        'accuracy table: its ranking, and its measured exit shares (default: the one beside the model)',
      )
      .option(
        '--trace <file>',
        'a recording, a synthetic link (.yaml) or constant:up=10,down=40,rtt=30 (default: the shipped LTE drive)',
      )
      .option('--up <file>', 'recording of the uplink')
      .option('--down <file>', 'recording of the downlink')
      .option('--rtt <file>', 'recording of round-trip times')
      .option('--up-mbps <n>', 'a constant uplink', positive)
      .option('--down-mbps <n>', 'a constant downlink', positive)
      .option('--rtt-ms <n>', 'a constant round-trip time', numberOption({ min: 0 }))
      .option('--start <seconds>', 'where in the trace requests begin', numberOption({ min: 0 }), 1)
      .option('--carriage <name>', 'relay, or wan: real TCP over an emulated link, as root', 'relay')
      .option('--wan-source <file>', 'C source of the emulator (docs/link-replay.md)')
      .option('--out <folder>', 'folder of the outcome (default: runs/calibrate-<n>)')
      .option('--quick', 'five plans, two links, short requests: about a minute')
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

interface Outcome {
  readonly result: CalibrationResult
  /** The profile from which predictions were made. */
  readonly profile: Profile
}

async function carryOut(options: Options, folder: string, io: Io): Promise<Outcome> {
  const { quick = false, clock } = { ...options, clock: io.clock }
  const pretrained = openPretrained(options.model, { builtinFolder: join(packageRoot(), 'models') })
  const { model } = pretrained.source
  const given = givenProfile(options, model.id)
  const precision = precisionOf(options, given)
  const accuracy = accuracyTableOf(model, pretrained.path, options.accuracy)
  const links = await linksOf(options)
  const wan = wanOf(options, links)
  const pinned = canPin(io)
  const progress = startProgress(io, 'calibrate', 1000)
  const measureProfile = (sides: Sides): Promise<Profile> => {
    progress.update(0, given === null ? 'profile' : 'messages')
    return profileSides({ ...sides, profile: given, quick, clock })
  }
  const hold = async (sides: Sides, emulation: LinkEmulation, profile: Profile): Promise<Outcome> => {
    io.onExit(() => emulation.close())
    try {
      const result = await calibrate({
        model,
        accuracy,
        exitLayers: pretrained.source.exitLayers,
        links,
        ...sides,
        emulation,
        profile,
        tcpDynamics: wan !== null,
        quick,
        pinned,
        clock,
        signal: io.signal,
        repeats: options.repeats,
        seed: options.seed,
        prompt: promptsOf(pretrained, options.seed),
        ...reporting(folder, progress, io),
      })
      return { result, profile }
    } finally {
      await emulation.close()
    }
  }
  const start = { model: options.model, precision, cache: options.cache, pinned }
  try {
    if (wan === null) {
      return await withSides({ ...start, wan: null }, io, async (sides) => {
        const emulation = await openRelays(links, await sides.cloud.address(), clock)
        return hold(sides, emulation, await measureProfile(sides))
      })
    }
    // There is no loopback between the namespaces, so the time of a message is measured before.
    const profile = await withSides({ ...start, wan: null }, io, measureProfile)
    return await withWan(wan, (ends) =>
      withSides({ ...start, wan: ends }, io, async (sides) =>
        hold(sides, overWan(await sides.cloud.address()), profile),
      ),
    )
  } finally {
    progress.stop()
  }
}

function givenProfile({ profile: path }: Options, modelId: string): Profile | null {
  if (path === undefined) return null
  const profile = readProfile(path)
  if (profile.model.id === modelId) return profile
  const [expected, found] = [`a profile of ${modelId}`, `one of ${profile.model.id}`]
  throw new InputError({ where: path, expected, found })
}

/**
 * What both sides run: the precision asked for, else that of the given profile, else fp32. Throws InputError where the
 * profile is of another one: the simulator would be held to graphs that its figures are not of.
 */
function precisionOf(options: Options, given: Profile | null): RuntimePrecision {
  const asked = options.precision ?? given?.precision ?? 'fp32'
  const where = options.precision === undefined ? `${options.profile}: precision` : '--precision'
  const precision = parseRuntimePrecision(asked, where)
  if (given === null || given.precision === precision) return precision
  const known = RUNTIME_PRECISIONS.some((one) => one === given.precision)
  const anew = `leave --profile out: one is then measured at ${precision}`
  throw new InputError({
    where: options.profile!,
    expected: `a profile at ${precision}, the precision that both sides run`,
    found: profileLabel(given),
    remedy: known ? `calibrate with --precision ${given.precision}, or ${anew}` : anew,
  })
}

function reporting(folder: string, progress: Progress, io: Io) {
  return {
    write: (file: string, text: string) => writeAtomic(join(folder, file), text),
    onPredicted: (hash: string, file: string) => {
      io.stderr.write(`predictions: ${join(folder, file)}, sha256 ${hash}, before anything is measured\n`)
    },
    onProgress: (count: number, total: number, note: string) =>
      progress.update(Math.floor((1000 * count) / total), note),
  }
}

/** The emulated WAN of the only link; null for relays. */
function wanOf({ carriage, wanSource }: Options, links: readonly LinkCase[]): WanOptions | null {
  if (requireChoice('--carriage', carriage, ['relay', 'wan'] as const) === 'relay') return null
  if (wanSource === undefined) {
    const [expected, found] = ['the C source of the emulator', 'none']
    throw new InputError({ where: '--carriage wan', expected, found, remedy: 'name it with --wan-source' })
  }
  const [{ series }] = links
  return {
    sourcePath: wanSource,
    queueBytes: WAN_QUEUE_BYTES,
    oneWayDelaySeconds: series.rttSeconds[0] / 2,
    upBitsPerSecond: series.upBitsPerSecond[0],
    downBitsPerSecond: series.downBitsPerSecond[0],
  }
}

async function linksOf(options: Options): Promise<LinkCase[]> {
  const phase = { phaseSeconds: 1 }
  const wifi = { id: '20/50 Mbit/s, 20 ms', series: constantSeries(20e6, 50e6, 0.02), ...phase }
  const slow = { id: '2/5 Mbit/s, 40 ms', series: constantSeries(2e6, 5e6, 0.04), ...phase }
  const chosen = await chosenLink(options)
  if (options.carriage === 'wan') return [chosen === null ? wifi : constantOnly(chosen)]
  const last = chosen ?? (await shippedLink(options))
  return options.quick === true ? [wifi, last] : [wifi, slow, last]
}

/** The link that the options name, as in `edgewise link replay`; null if they name none. */
async function chosenLink(options: Options): Promise<LinkCase | null> {
  const { trace, seed, start: phaseSeconds, up, down, rtt, upMbps, downMbps, rttMs } = options
  const parts = Object.entries({ up, down, rtt, upMbps, downMbps, rttMs })
  const given = Object.fromEntries(parts.filter(([, value]) => value !== undefined))
  if (trace === undefined && Object.keys(given).length === 0) return null
  const series = await openLinkSource(trace, { seed, modelSeconds: TRACE_SECONDS, ...given })
  return { id: 'trace', series, phaseSeconds }
}

async function shippedLink({ seed, start: phaseSeconds }: Options): Promise<LinkCase> {
  const options = { seed, modelSeconds: TRACE_SECONDS }
  const series = await openLinkSource(join(packageRoot(), SHIPPED_TRACE), options)
  return { id: 'LTE, synthetic', series, phaseSeconds }
}

/** The emulator supports one rate and one delay. */
function constantOnly(link: LinkCase): LinkCase {
  if (link.series.upBitsPerSecond.length === 1) return link
  const [where, expected, found] = ['--carriage wan', 'a constant link', link.series.label]
  throw new InputError({ where, expected, found, remedy: 'give --trace constant:up=20,down=50,rtt=20' })
}

/** Text if the model has a tokenizer; random ids otherwise. */
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

/** Stores the summary in the profile that was compared with the runtime, and returns that profile's path. */
function keepProfile({ profile: given }: Options, folder: string, { profile, result }: Outcome): string {
  const file = given ?? join(folder, PROFILE_FILE)
  writeProfile(file, { ...profile, calibration: calibrationOf(result, join(folder, RESULT_FILE)) })
  return file
}

function describe({ result }: Outcome, profile: string, markdown: boolean, folder: string, io: Io): void {
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
