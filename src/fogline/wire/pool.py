"""The descriptor pool that holds Fogline's messages, and nobody else's."""

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
