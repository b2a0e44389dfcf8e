import { z } from 'zod'
import { precisionSchema } from '../../model/precision.ts'

const positive = z.number().positive().max(1e18)
const notNegative = z.number().min(0).max(1e18)

/** A device described by its data sheet. Users describe theirs in a YAML file with these fields. */
export const deviceSchema = z
  .strictObject({
    id: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'an id of letters, digits, ".", "_" and "-"'),
    description: z.string().min(1).max(400),
    precision: precisionSchema,
    /** Memory that weights and K/V caches may take. */
    memoryBytes: positive,
    /** Peak dense floating-point rate at the precision of the activations. */
    flopsPerSecond: positive,
    bandwidthBytesPerSecond: positive,
    /** Shares of the two peaks that actual kernels reach. */
    computeEfficiency: z.number().positive().max(1),
    bandwidthEfficiency: z.number().positive().max(1),
    /** Time to launch the kernels of one block. */
    dispatchSeconds: notNegative,
    loadBytesPerSecond: positive,
    busyWatts: positive,
    idleWatts: notNegative,
    radioJoulesPerByte: notNegative,
    radioJoulesPerMessage: notNegative,
    decisionSeconds: notNegative,
    /** Largest batch the batch curve covers. */
    batchSizes: z.int().min(1).max(256),
    /** Where the figures come from, by field. */
    sources: z.record(z.string(), z.string().max(400)),
  })
  .refine((device) => device.busyWatts >= device.idleWatts, {
    path: ['busyWatts'],
    message: 'at least idleWatts',
  })

/** A device as its data sheet gives it: rates, memory and power, each with its source. */
export type DeviceSheet = z.infer<typeof deviceSchema>

/** Wi-Fi and its tail, from Huang et al., MobiSys 2012, table 4: 283.17 mW per Mbit/s up, tail 119.3 mW (238 ms). */
export const WIFI = { radioJoulesPerByte: 2.27e-6, radioJoulesPerMessage: 0.006 }
/** Where the figures of WIFI come from. */
export const WIFI_SOURCES = {
  radioJoulesPerByte: 'Huang et al., MobiSys 2012, table 4: Wi-Fi uplink 283.17 mW per Mbit/s',
  radioJoulesPerMessage: 'the same table: Wi-Fi tail 119.3 mW, over an assumed gap of 50 ms between messages',
}
const ASSUMED_SHARES = {
  computeEfficiency: 'assumed: half of the peak in dense matrix products',
  bandwidthEfficiency: 'assumed: 80 % of the peak when streaming weights',
}

/** Built-in devices. All figures are from data sheets or assumed; profiles made from them are `modelled`. */
export const DEVICES: readonly DeviceSheet[] = [
  {
    id: 'jetson-orin-nx',
    description: 'NVIDIA Jetson Orin NX 16 GB, 25 W mode, Ampere GPU (1024 CUDA, 32 tensor cores), fp16',
    precision: 'fp16',
    memoryBytes: 12e9,
    flopsPerSecond: 15e12,
    bandwidthBytesPerSecond: 102.4e9,
    computeEfficiency: 0.5,
    bandwidthEfficiency: 0.8,
    dispatchSeconds: 60e-6,
    loadBytesPerSecond: 2e9,
    busyWatts: 20,
    idleWatts: 5,
    ...WIFI,
    decisionSeconds: 2e-3,
    batchSizes: 8,
    sources: {
      flopsPerSecond:
        'Jetson Orin NX data sheet DS-10712-001: GPU 60 sparse INT8 TOPS, hence 15 dense fp16 TFLOPS',
      bandwidthBytesPerSecond: 'Jetson Orin NX data sheet DS-10712-001: 128-bit LPDDR5, 102.4 GB/s',
      memoryBytes: 'assumed: 16 GB less system and runtime',
      loadBytesPerSecond: 'assumed: NVMe on PCIe 4.0 x4 behind a file system',
      busyWatts: 'assumed: inside the 25 W budget of the data sheet',
      idleWatts: 'assumed',
      dispatchSeconds: 'assumed: about ten kernel launches of 6 us',
      decisionSeconds: 'assumed: twice to three times a desktop core',
      ...ASSUMED_SHARES,
      ...WIFI_SOURCES,
    },
  },
  {
    id: 'galaxy-s23',
    description: 'Samsung Galaxy S23, Snapdragon 8 Gen 2, Adreno 740 GPU, 8 GB LPDDR5X, fp16',
    precision: 'fp16',
    memoryBytes: 5e9,
    flopsPerSecond: 7e12,
    bandwidthBytesPerSecond: 67e9,
    computeEfficiency: 0.3,
    bandwidthEfficiency: 0.7,
    dispatchSeconds: 100e-6,
    loadBytesPerSecond: 2.5e9,
    busyWatts: 8,
    idleWatts: 1,
    ...WIFI,
    decisionSeconds: 2e-3,
    batchSizes: 4,
    sources: {
      flopsPerSecond: 'reported for the Adreno 740: 3.5 fp32 TFLOPS; twice that at fp16, assumed',
      bandwidthBytesPerSecond: 'Snapdragon 8 Gen 2 product brief: LPDDR5X at 4200 MHz, 64 bit, 67 GB/s',
      memoryBytes: 'assumed: 8 GB less Android and its applications',
      loadBytesPerSecond: 'assumed: 60 % of the 4.2 GB/s sequential read that Samsung prints for UFS 4.0',
      busyWatts: 'assumed: sustained power of a phone under GPU load',
      idleWatts: 'assumed: screen dimmed',
      dispatchSeconds: 'assumed: OpenCL or Vulkan queue submission',
      decisionSeconds: 'assumed: twice to three times a desktop core',
      computeEfficiency: 'assumed: mobile GPU without matrix units',
      bandwidthEfficiency: 'assumed: 70 % of the peak when streaming weights',
      ...WIFI_SOURCES,
    },
  },
  {
    id: 'raspberry-pi-5',
    description: 'Raspberry Pi 5, 8 GB, four Cortex-A76 cores at 2.4 GHz, microSD, fp16',
    precision: 'fp16',
    memoryBytes: 6.5e9,
    flopsPerSecond: 307e9,
    bandwidthBytesPerSecond: 17e9,
    computeEfficiency: 0.5,
    bandwidthEfficiency: 0.8,
    dispatchSeconds: 15e-6,
    loadBytesPerSecond: 90e6,
    busyWatts: 9,
    idleWatts: 3,
    ...WIFI,
    decisionSeconds: 4e-3,
    batchSizes: 4,
    sources: {
      flopsPerSecond:
        'Cortex-A76 optimisation guide: two 128-bit FMA pipes; 4 cores x 2.4 GHz x 32 fp16 FLOP',
      bandwidthBytesPerSecond: 'Raspberry Pi 5 product brief: LPDDR4X-4267, 32 bit, 17 GB/s',
      memoryBytes: 'assumed: 8 GB less the system',
      loadBytesPerSecond:
        'Raspberry Pi 5 product brief: SDR104 microSD (104 MB/s), less file system overhead, assumed',
      busyWatts: 'assumed: all cores busy, board without peripherals',
      idleWatts: 'assumed: idle board without peripherals',
      dispatchSeconds: 'assumed: an ONNX Runtime call, measured at 5 to 12 us on a server core',
      decisionSeconds: 'assumed: four to six times a desktop core',
      ...ASSUMED_SHARES,
      ...WIFI_SOURCES,
    },
  },
  {
    id: 'a100',
    description: 'NVIDIA A100 40 GB SXM, fp16 with fp32 accumulation, continuous batching',
    precision: 'fp16',
    memoryBytes: 36e9,
    flopsPerSecond: 312e12,
    bandwidthBytesPerSecond: 1555e9,
    computeEfficiency: 0.5,
    bandwidthEfficiency: 0.8,
    dispatchSeconds: 30e-6,
    loadBytesPerSecond: 20e9,
    busyWatts: 350,
    idleWatts: 55,
    radioJoulesPerByte: 0,
    radioJoulesPerMessage: 0,
    decisionSeconds: 1e-3,
    batchSizes: 32,
    sources: {
      flopsPerSecond: 'NVIDIA A100 data sheet: 312 dense fp16 tensor TFLOPS',
      bandwidthBytesPerSecond: 'NVIDIA A100 40 GB data sheet: 1555 GB/s',
      memoryBytes: 'assumed: 40 GB less workspace',
      loadBytesPerSecond: 'assumed: host memory over PCIe 4.0 x16',
      busyWatts: 'assumed: inside the 400 W of the data sheet',
      idleWatts: 'assumed',
      dispatchSeconds: 'assumed: six kernel launches of 5 us',
      decisionSeconds: 'assumed',
      radioJoulesPerByte: 'no radio: wired',
      radioJoulesPerMessage: 'no radio: wired',
      ...ASSUMED_SHARES,
    },
  },
]

/** A built-in device, or null for an id that is none. */
export function builtinDevice(id: string): DeviceSheet | null {
  return DEVICES.find((device) => device.id === id) ?? null
}
