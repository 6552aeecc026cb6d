"""From audio to feature matrices: MFCC for the GMM, filterbanks for networks, noise, augmentation."""
