import { defineConfig } from 'tsdown'
import { threadPrograms } from '../../threads.config.ts'

/** The fault lab as a program of its own (`npm run test:faults`); `--out-dir` says where it goes. */
export default defineConfig({
  entry: ['main.ts'],
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  dts: false,
  logLevel: 'warn',
  plugins: [threadPrograms()],
})
