import type { DeviceSheet } from '../../plan/profile/devices.ts'
import { DEVICES } from '../../plan/profile/devices.ts'
import { loadDevice } from '../../plan/profile/loadDevice.ts'
import { formatBytes, formatNumber, formatSeconds, formatShare, formatWatts } from '../../report/numbers.ts'
import { renderTable } from '../../report/table.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printHint, printJson, printLine } from '../io.ts'

interface Options {
  readonly json?: boolean
}

export const devices: CliCommand<Options> = {
  name: 'devices',
  summary: 'list the devices known from data sheets, or describe one with its sources',
  configure(command) {
    command.argument('[device...]', 'ids or YAML files (default: every built-in device)')
    addJson(command)
    addExamples(command, [
      ['List the built-in devices', 'devices'],
      ['Where the figures of one device come from', 'devices jetson-orin-nx'],
      ['Check a device of your own', 'devices my-phone.yaml --json'],
    ])
  },
  run(options, io, args) {
    const chosen = args.length === 0 ? DEVICES : args.map(loadDevice)
    if (options.json === true) {
      printJson(io, { devices: chosen.map((device) => ({ ...device, provenance: 'modelled' })) })
      return
    }
    if (args.length > 0) for (const device of chosen) printSheet(device, io)
    else printList(chosen, io)
  },
}

function printList(list: readonly DeviceSheet[], io: Io): void {
  const columns = [
    { title: 'device' },
    { title: 'precision' },
    { title: 'memory', align: 'right' },
    { title: 'compute', align: 'right' },
    { title: 'bandwidth', align: 'right' },
    { title: 'busy', align: 'right' },
    { title: 'idle', align: 'right' },
    { title: 'what it is' },
  ] as const
  const rows = list.map((device) => [
    device.id,
    device.precision,
    formatBytes(device.memoryBytes),
    flops(device.flopsPerSecond),
    `${formatBytes(device.bandwidthBytesPerSecond)}/s`,
    formatWatts(device.busyWatts),
    formatWatts(device.idleWatts),
    device.description,
  ])
  printLine(io, renderTable({ columns, rows }, io))
  printHint(io, '\nModelled from data sheets; `edgewise devices <id>` shows the source of each figure.')
  printHint(io, '`edgewise profile` measures the machine you are on.')
}

function printSheet(device: DeviceSheet, io: Io): void {
  printLine(io, `${device.id}: ${device.description}\n`)
  const figure = (name: string, text: string): string[] => [
    name,
    text,
    device.sources[name] ?? 'no source given',
  ]
  const rows = [
    figure('precision', device.precision),
    figure('memoryBytes', formatBytes(device.memoryBytes)),
    figure('flopsPerSecond', flops(device.flopsPerSecond)),
    figure('bandwidthBytesPerSecond', `${formatBytes(device.bandwidthBytesPerSecond)}/s`),
    figure('computeEfficiency', formatShare(device.computeEfficiency)),
    figure('bandwidthEfficiency', formatShare(device.bandwidthEfficiency)),
    figure('dispatchSeconds', formatSeconds(device.dispatchSeconds)),
    figure('loadBytesPerSecond', `${formatBytes(device.loadBytesPerSecond)}/s`),
    figure('busyWatts', formatWatts(device.busyWatts)),
    figure('idleWatts', formatWatts(device.idleWatts)),
    figure('radioJoulesPerByte', `${formatNumber(device.radioJoulesPerByte * 1e6)} uJ/B`),
    figure('radioJoulesPerMessage', `${formatNumber(device.radioJoulesPerMessage * 1e3)} mJ`),
    figure('decisionSeconds', formatSeconds(device.decisionSeconds)),
    figure('batchSizes', formatNumber(device.batchSizes)),
  ]
  const columns = [{ title: 'figure' }, { title: 'value', align: 'right' }, { title: 'source' }] as const
  printLine(io, `${renderTable({ columns, rows }, io)}\n`)
}

function flops(perSecond: number): string {
  return perSecond >= 1e12
    ? `${formatNumber(perSecond / 1e12)} TFLOP/s`
    : `${formatNumber(perSecond / 1e9)} GFLOP/s`
}
