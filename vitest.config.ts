import { defineConfig } from 'vitest/config'
import { threadPrograms } from './threads.config.ts'

export default defineConfig({
  plugins: [threadPrograms()],
  test: {
    include: ['test/**/*.test.ts'],
    environment: 'node',
    // ONNX Runtime is a native addon: a process of its own per file, never a shared thread.
    pool: 'forks',
    maxWorkers: 2,
    // No test asserts a time: on a swamped machine the trainings may take minutes.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    teardownTimeout: 5_000,
    coverage: { provider: 'v8', include: ['src/**', 'envs/**'] },
  },
})
