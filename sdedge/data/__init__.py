"""Images in, batches on the device out: named sets, folders, the decoded cache, augmentation."""
